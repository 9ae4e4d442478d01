// Discussion 0: the list of interfaces and of command receivers, 2006 (reference I.1; I0-1 to I0-6).
#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "host_driver/message_handler/rcu_list.h"
#include "host_driver/state_machine/profile.h"
#include "integration/lab/rig.h"
#include "integration/scenarios/registry.h"

namespace bmcpair::scenarios {

namespace {

using host::detail::RcuList;
using host::detail::RcuNode;
using lab::LabBmc;
using lab::LabHost;

constexpr const char* kSource =
    "LKML 2006-12, review of \"IPMI: remove interface number limits\"; \"IPMI: Fix some RCU problems\" (78ba2faf71c6)";

struct Receiver : RcuNode, rt::Tracked {
  Receiver() : Tracked("receiver") {}
  explicit Receiver(bool) : Tracked("private head"), is_head(true) {}
  bool is_head = false;
};

// Five receivers, one reader under way and one that comes later, and the teardown that takes them all.
void teardown_under_readers(Run& run, std::string_view profile) {
  const state_machine::Profile p = *state_machine::profile_with(profile);
  constexpr unsigned kReceivers = 5;
  rt::Rcu domain;
  RcuList<Receiver> list;
  for (unsigned i = 0; i < kReceivers; ++i) list.push_back(new Receiver);
  auto walk = [&] {
    rt::RcuReader section(domain);
    unsigned steps = 0;
    for (Receiver* at = list.first(); at; at = list.after(at)) {
      at->touch();
      if (at->is_head) run.fail("half-made", "a reader takes the private list's head for a receiver (I0-2)");
      if (++steps > kReceivers + 1) run.fail("traversal", "a reader never meets the end of the list (I0-1)");
    }
  };
  rt::Thread readers[2];
  for (auto& r : readers) r.start("reader", walk);
  {
    Receiver private_head(true);
    Receiver* gone = p.mh_splice_to_private_head ? list.splice_to(&private_head, domain)
                                                 : list.splice_all(domain, p.mh_splice_tests_destination);
    while (gone) {
      Receiver* next = RcuList<Receiver>::next_spliced(gone);
      delete gone;
      gone = next;
    }
  }
  for (auto& r : readers) r.join();
}

// The interface is registered; meanwhile somebody opens the number as soon as it can be seen.
void open_while_registering(Run& run, std::string_view profile) {
  const state_machine::Profile p = *state_machine::profile_with(profile);
  constexpr uint8_t kAddress = 0x24;
  lab::BmcOptions b;
  b.steady = true;
  LabBmc bmc(run, std::move(b));
  lab::HostOptions h;
  h.profile = &p;
  h.interface.slave_address = kAddress;
  LabHost host(run, std::move(h));
  bool over = false;
  rt::Thread opener;
  opener.start("opener", [&] {
    while (!over) {
      if (auto user = host.handler().create_user(0, {})) {
        const auto address = (*user)->my_address(0);
        if (!address || *address != kAddress) {
          run.fail("half-made", "who opens the interface by its number finds address " +
                                    (address ? to_hex(Bytes{*address}) : std::string("none")) + " instead of 24 (I0-4)");
        }
        (void)host.handler().describe(0);
        return;
      }
      // The channel scan is the last that registration asks the BMC for.
      const bool soon = bmc.executions(0x06, 0x42) >= 16;
      rt::sleep_for(std::chrono::microseconds(soon ? 2 : 50));
    }
  });
  auto number = host.bring_up(bmc);
  over = true;
  opener.join();
  if (!number) run.fail("setup", number.error().to_string());
  (void)host.handler().unregister_smi(*number);
}

// Two interfaces come and go while others open, send, look and let time pass.
void come_and_go(Run& run, std::string_view profile) {
  const state_machine::Profile p = *state_machine::profile_with(profile);
  constexpr unsigned kInterfaces = 2, kRounds = 2;
  std::deque<LabBmc> bmcs;
  for (unsigned i = 0; i < kInterfaces; ++i) {
    lab::BmcOptions b;
    b.steady = true;
    b.kind = i == 0 ? registers::InterfaceKind::kBt : registers::InterfaceKind::kKcs;
    b.interrupt = i == 0;
    bmcs.emplace_back(run, std::move(b));
  }
  lab::HostOptions h;
  h.profile = &p;
  LabHost host(run, h);
  unsigned left = kInterfaces;
  rt::Thread owners[kInterfaces];
  for (unsigned i = 0; i < kInterfaces; ++i) {
    owners[i].start("owner " + std::to_string(i), [&, i] {
      for (unsigned round = 0; round < kRounds; ++round) {
        host::SystemInterfaceOptions o;
        o.profile = &p;
        auto smi = std::make_shared<host::SystemInterface>(bmcs[i].port(), o);
        auto watched = std::make_shared<lab::WatchedSmi>(run, smi, &bmcs[i]);
        if (!smi->bring_up()) run.fail("registration", "an interface does not come up");
        auto number = host.handler().register_smi(watched);
        if (!number) run.fail("registration", "an interface is not registered: " + number.error().to_string());
        if (*number < 0 || *number >= static_cast<int>(kInterfaces)) {
          run.fail("numbers", "number " + std::to_string(*number) + " is given while a lower one is free (I0-5)");
        }
        ++run.bring_ups;
        (void)host.handler().unregister_smi(*number);
      }
      --left;
    });
  }
  rt::Thread looker;
  looker.start("looker", [&] {
    while (left > 0) {
      const std::vector<int> numbers = host.handler().interfaces();
      if (!std::is_sorted(numbers.begin(), numbers.end()) ||
          std::adjacent_find(numbers.begin(), numbers.end()) != numbers.end()) {
        run.fail("numbers", "the interfaces' numbers are not ascending and unique (I0-5)");
      }
      if (auto user = host.handler().create_user(0, {})) {
        (void)(*user)->request(host::SystemInterfaceAddress{}, 1, ipmi::Request{lab::kEchoNetFn, 0, lab::kEchoCmd, {1}});
      }
      rt::sleep_for(std::chrono::microseconds(300));
    }
  });
  for (auto& o : owners) o.join();
  looker.join();
}

std::unique_ptr<Exhibit> exhibit(FunctionExhibit::Label label, FunctionExhibit::Body body) {
  return std::make_unique<FunctionExhibit>(std::move(label), std::move(body));
}

}  // namespace

Exhibits interface_list() {
  Exhibits out;
  rt::WorldOptions calm;
  calm.stalls = false;
  out.push_back(exhibit({"list-private-head", "receivers are spliced to a private head while somebody walks over them", kSource,
                         "The patch linked a bare list head into the readers' list and took the real one out. A reader that comes "
                         "takes the head for an entry; one that is under way never meets the head that it compares with.",
                         {{"hardened+mh_splice_to_private_head", "half-made", "private list's head"}, {"hardened", "", ""}},
                         200, -1, calm},
                        teardown_under_readers));
  out.push_back(exhibit({"list-wrong-list-tested", "the helper looks whether the destination is empty, and it is", kSource,
                         "The helper that mended the splice returned early when the destination was empty, which is how the "
                         "teardown calls it: nothing was moved, nothing freed (G-117).",
                         {{"hardened+mh_splice_tests_destination", "leak", "receiver"}, {"hardened", "", ""}}, 20, -1, calm},
                        teardown_under_readers));
  out.push_back(exhibit({"number-before-contents", "an interface's number can be seen before what it stands for", kSource,
                         "The number was stored first, and the rest after it. Who opened the interface in between found an address "
                         "that nobody had set yet.",
                         {{"hardened+mh_publish_number_first", "race", "opener reads"}, {"hardened", "", ""}}, 400, -1,
                         calm},
                        open_while_registering));
  out.push_back(exhibit({"number-without-barriers", "the number comes last, but nothing makes the processors see it last", kSource,
                         "The number was the last store, and a plain one: another processor may see it and the old contents. Only a "
                         "memory model that lets a load read an old store shows it; the write barrier and the read barrier of the "
                         "review are release and acquire here.",
                         {{"hardened+mh_number_without_barriers", "race", "opener reads"}, {"hardened", "", ""}}, 200, -1,
                         calm},
                        open_while_registering));
  out.push_back(exhibit({"interface-churn", "interfaces come and go while others open, send, look and let time pass", kSource,
                         "The point of the patch: no limit on interfaces, and no lock for those who walk over them. No old profile "
                         "fails here; it is what the list must bear.",
                         {{"hardened", "", ""}}, 20, -1, calm},
                        come_and_go));
  return out;
}

}  // namespace bmcpair::scenarios
