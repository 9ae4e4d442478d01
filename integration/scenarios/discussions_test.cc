// The five discussions, item by item: what shows each. docs/discussions.md is written from this table
// (BMCPAIR_WRITE_TABLES=FOLDER) and compared with it; what an item names must exist.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "integration/scenarios/registry.h"

namespace bmcpair::scenarios {
namespace {

struct Item {
  const char* id;
  const char* what;
  std::vector<std::string_view> experiments;  // of bmc_lab
  // Tests of the suite, as their source has them: "Suite, Name".
  std::vector<std::string_view> tests = {};
};

struct Discussion {
  const char* title;
  const char* source;
  std::vector<std::string_view> ids;  // all that the reference has
  std::vector<Item> items;
};

const std::vector<Discussion>& discussions() {
  static const std::vector<Discussion> all = {
      {"0. The interface list, 2006",
       "LKML, review of \"IPMI: remove interface number limits\", December 2006",
       {"I0-1", "I0-2", "I0-3", "I0-4", "I0-5", "I0-6"},
       {{"I0-1", "a traversal ends, whenever it began", {"list-private-head", "interface-churn"}, {"RcuList, WalksEndWhileWritersInsertUnlinkAndTakeAll"}},
        {"I0-2", "no traversal takes the private head for an element", {"list-private-head"}, {"RcuList, APrivateHeadAmongTheReadersKeepsThemForEver"}},
        {"I0-3",
         "what a traversal can reach is freed after it",
         {"list-private-head", "list-wrong-list-tested", "open-close-iterate"},
         {"RcuList, TakingAllLeavesReadersTheirTerminatorAndWaitsForThem"}},
        {"I0-4", "who sees the number sees everything that was stored before it", {"number-before-contents", "number-without-barriers"}},
        {"I0-5", "numbers are unique, the lowest free one first, the list in order", {"interface-churn"}, {"Registration, TheLowestFreeNumberIsGivenAndTheListStaysSorted"}},
        {"I0-6",
         "without a number it is skipped by those who open, watch and panic, and time passes for it all the same",
         {"cleanup-device-id-silent"},
         {"Registration, AnInterfaceBeingAskedIsInvisibleAndOthersComeUpMeanwhile", "Panic, AnInterfaceThatIsNotPublishedIsLeftAlone"}}}},
      {"1. The panic flush, 2015",
       "LKML, \"ipmi: Handle queued messages more certainly on panic\", July and August 2015; point by point in "
       "[panic_windows.md](panic_windows.md)",
       {"window (1)", "window (2)", "window (3)", "window (4)", "window (5)", "resend", "bounded", "locks", "callbacks", "two drivers", "static message"},
       {{"window (1)", "before the message is current above: dropped, unavoidably", {"panic-bt"}, {"PanicWindows, EachIsMetAtEveryPointOfASendAndHardenedTellsTheBmcInAllOfThem"}},
        {"window (2)", "current above, nothing below: dropped, and nothing waits behind it", {"panic-window-1-2"}, {"PanicWindows, EachIsMetAtEveryPointOfASendAndHardenedTellsTheBmcInAllOfThem"}},
        {"window (3)", "waiting below: the flush sends it", {"panic-bt"}, {"PanicWindows, EachIsMetAtEveryPointOfASendAndHardenedTellsTheBmcInAllOfThem"}},
        {"window (4)", "taken and not started", {"panic-window-3-4"}, {"PanicWindows, EachIsMetAtEveryPointOfASendAndHardenedTellsTheBmcInAllOfThem"}},
        {"window (5)",
         "on the wire: the machine goes on; answered, and still current above: nothing waits behind it",
         {"panic-window-5"},
         {"Panic, WhatWasAnsweredBeforeCurrentWasClearedIsNotSentAgain"}},
        {"resend", "a request is never sent, nor done by the BMC, twice", {"panic-resend"}},
        {"bounded", "every wait in the panic has an end", {"panic-unbounded"}, {"Panic, ASilentBmcEndsTheWaitWithinItsBoundAndTheMessageIsNotReused"}},
        {"locks", "no lock is taken in the panic", {"panic-takes-locks"}},
        {"callbacks", "no user is called in the panic", {"panic-calls-users"}},
        {"two drivers", "one context drives a machine, the others are waited for or left alone", {}, {"PanicWindows, EachIsMetAtEveryPointOfASendAndHardenedTellsTheBmcInAllOfThem"}},
        {"static message", "the panic's message is not written while the layer below has it", {"panic-message-reused"}}}},
      {"2. The forged D5, 2018",
       "openipmi-developer and LKML, \"[RFC] IPMI state machine regression\", August 2018",
       {"BT-1", "BT-2", "BT-3", "I2-1", "I2-2", "I2-3", "I2-4", "I2 (a)", "I2 (b)", "I2 (c)", "I2 (d)", "I2 (e)", "I2 (f)", "W1", "W2", "W3", "W4", "W5",
        "W6", "W7"},
       {{"BT-1",
         "once registration begins, no transaction runs that the system interface did not start",
         {"bt-cap-begin", "bt-long-busy-refetch"},
         {"TheReportOf2018, IsWhatTheLaboratoryPrints"}},
        {"BT-2", "D5 comes only from the BMC", {"bt-cap-begin", "bmc-says-d5"}},
        {"BT-3", "5 s and 2 retries only where the BMC gave no capabilities", {"bt-forgets-capabilities", "bt-zero-seconds"}, {"BtCapabilities, AreAdoptedOnlyWhenWhole"}},
        {"I2-1", "an interface is unlinked and torn down once", {"bt-device-id-refused", "cleanup-bmc-registration"}},
        {"I2-2", "after shutdown() nothing of the layer below is used, nor uses anything", {"late-shutdown-mark", "shutdown-leaves-timer", "shutdown-trusts-flag"}},
        {"I2-3", "after a failed registration the device can be added again, under the number that is free", {"start-up-fails-anywhere"}, {"WithoutMemory, ARegistrationFailsAndCanBeDoneAgain"}},
        {"I2-4", "deferred work holds a reference and looks whether it is over", {"late-shutdown-mark"}, {"Identity, AFailedRegistrationOfTheBmcLeavesNothingThatSends"}},
        {"I2 (a)", "start_processing fails", {"cleanup-start-processing"}},
        {"I2 (b)", "Get Device GUID cannot be sent", {"cleanup-link-cut", "guid-send-failed"}},
        {"I2 (c)", "Get Device ID is refused", {"cleanup-device-id-cc"}},
        {"I2 (d)", "Get Device ID is never answered", {"cleanup-device-id-silent"}},
        {"I2 (e)", "the channel scan cannot be sent", {"cleanup-link-cut"}},
        {"I2 (f)", "the BMC cannot be registered", {"cleanup-bmc-registration"}},
        {"W1", "the hidden capability fetch meets the registration", {"bt-cap-begin", "bt-device-id-refused"}},
        {"W2", "the hidden fetch runs again after LONG_BUSY and meets a user", {"bt-long-busy-refetch"}},
        {"W3", "KCS aborts by itself, because IBF stays full while it is idle", {"kcs-idle-ibf"}},
        {"W4", "without memory the state says normal while the enables are on the wire", {"si-enables-forgotten"}},
        {"W5", "KCS parks in ERROR0 once it is hosed", {"kcs-parks-in-error0"}},
        {"W6", "the BMC itself says D5", {"bmc-says-d5"}},
        {"W7", "a refused internal start changes the state, and another's answer is parsed", {"si-refused-start"}}}},
      {"3. The cross-call, 2009",
       "linux-kernel, \"[PATCH 2/3] generic-ipi: remove kmalloc()\", February 2009",
       {"S3-A", "S3-B", "S3-C", "H3-1", "H3-2", "H3-3", "H3-4", "H3-5", "H3-6"},
       {{"S3-A", "an element is used again at the tail while a receiver stands on it", {"cross-call-tail-requeue", "cross-call-tail-requeue-full"}},
        {"S3-B", "at the head, the receiver meets elements again, harmlessly", {"cross-call-revisit"}},
        {"S3-C", "used again twice, others in between", {"cross-call-requeue-twice"}},
        {"H3-1", "an element that is in use is not written", {"cross-call-double-use"}},
        {"H3-2", "taking it orders what is written next after what was read last", {"cross-call-no-barrier"}},
        {"H3-3", "letting it go comes after all that was read of it", {"cross-call-no-release"}},
        {"H3-4", "a receiver runs a call once", {"cross-call-revisit", "cross-call-ends-first"}},
        {"H3-5", "what was on the list when the interrupt was taken is run before the handler returns", {"cross-call-tail-requeue"}},
        {"H3-6", "who stands on an element that is used again still reaches what was behind it", {"cross-call-tail-requeue", "cross-call-requeue-twice"}}}},
      {"4. The end points, 2009",
       "OpenFabrics Windows list, \"[PATCH 3/7] ib/cm: export CM only interface\", January 2009",
       {"S4-A", "S4-B", "S4-C", "S4-D", "S4-E", "S4-F", "H4-1", "H4-2", "H4-3", "H4-4", "H4-5", "H4-6", "H4-7", "H4-8", "H4-9"},
       {{"S4-A", "stored after the destruction saw nobody", {"end-point-leak"}},
        {"S4-B", "read, then locked: destroyed twice", {"end-point-double-destroy"}},
        {"S4-C", "published, then referenced", {"end-point-publish-before-reference"}},
        {"S4-D", "two accepts at once", {"end-point-two-accepts"}},
        {"S4-E", "destroyed while it waits for the peer", {"end-point-destroy-waits"}},
        {"S4-F", "destroyed from its own handler, and waits for it", {"end-point-destroy-in-callback"}},
        {"H4-1", "the id changes under the manager's lock only", {"end-point-leak", "end-point-storm"}},
        {"H4-2", "nothing is stored into what is going", {"end-point-leak"}},
        {"H4-3", "what is decided on is read under the same lock", {"end-point-double-destroy"}},
        {"H4-4", "references stand by themselves, and come before publication", {"end-point-publish-before-reference"}},
        {"H4-5", "one who is attached already is refused", {"end-point-two-accepts"}},
        {"H4-6", "destruction aborts what is in flight and waits for nobody", {"end-point-destroy-waits"}},
        {"H4-7", "the low layer never blocks", {"end-point-destroy-in-callback"}},
        {"H4-8", "destruction cannot fail because something is busy", {"end-point-destroy-busy"}},
        {"H4-9", "what must not be called from a handler says so", {"end-point-destroy-in-callback"}}}},
  };
  return all;
}

const Exhibit* exhibit(std::string_view name) {
  for (const Exhibit* e : exhibits()) {
    if (e->name() == name) return e;
  }
  return nullptr;
}

std::string page() {
  std::ostringstream out;
  out << "# The five discussions, item by item\n\n"
         "The invariants, windows, recipes and interleavings of the discussions that the laboratory is for, what shows each, and the\n"
         "profile under which it fails. `hardened` passes all of them: the suite searches each experiment under each of its profiles\n"
         "([museum.md](museum.md) has the stories, [strategies.md](strategies.md) how long each takes to find). Written by\n"
         "`integration/scenarios/discussions_test.cc`, which also looks that what is named exists.\n";
  for (const Discussion& d : discussions()) {
    out << "\n## " << d.title << "\n\n" << d.source << ".\n\n| item | what holds, or happens | experiment | fails under | tests |\n|---|---|---|---|---|\n";
    for (const Item& item : d.items) {
      out << "| " << item.id << " | " << item.what << " | ";
      std::string names, profiles, tests;
      for (std::string_view name : item.experiments) {
        names += (names.empty() ? "[" : "<br>[") + std::string(name) + "](museum.md#" + std::string(name) + ')';
        const Exhibit* e = exhibit(name);
        if (!e) continue;
        for (const Expectation& x : e->expectations()) {
          if (!x.oracle.empty()) profiles += (profiles.empty() ? "`" : "<br>`") + x.profile + "`: " + x.oracle;
        }
      }
      for (std::string_view test : item.tests) {
        std::string shown(test);
        shown.replace(shown.find(", "), 2, ".");
        tests += (tests.empty() ? "" : "<br>") + shown;
      }
      out << names << " | " << (profiles.empty() ? "nothing: what must hold" : profiles) << " | " << tests << " |\n";
    }
  }
  return out.str();
}

TEST(Discussions, EveryItemIsThereAndWhatItNamesExists) {
  namespace fs = std::filesystem;
  std::string sources;
  for (const char* room : {"host_driver", "bmc_emu", "integration"}) {
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(BMCPAIR_SOURCE_DIR) / room)) {
      const std::string path = entry.path().string();
      if (!path.ends_with("_test.cc") || path.ends_with("discussions_test.cc")) continue;
      std::ifstream in(entry.path());
      sources.append(std::istreambuf_iterator<char>(in), {});
    }
  }
  for (const Discussion& d : discussions()) {
    std::set<std::string_view> there;
    for (const Item& item : d.items) {
      EXPECT_TRUE(there.insert(item.id).second) << item.id << " is there twice";
      EXPECT_FALSE(item.experiments.empty() && item.tests.empty()) << item.id << " is shown by nothing";
      for (std::string_view name : item.experiments) EXPECT_NE(exhibit(name), nullptr) << item.id << ": no experiment " << name;
      for (std::string_view test : item.tests) {
        EXPECT_NE(sources.find('(' + std::string(test) + ')'), std::string::npos) << item.id << ": no test " << test;
      }
      // Somebody must fail, or it is not known that the experiment can tell.
      const bool fails = std::any_of(item.experiments.begin(), item.experiments.end(), [](std::string_view name) {
        const Exhibit* e = exhibit(name);
        return e && std::any_of(e->expectations().begin(), e->expectations().end(), [](const Expectation& x) { return !x.oracle.empty(); });
      });
      EXPECT_TRUE(fails || !item.tests.empty()) << item.id << ": nothing of it ever fails";
    }
    EXPECT_EQ(there, std::set<std::string_view>(d.ids.begin(), d.ids.end())) << d.title;
  }
}

TEST(Discussions, ThePageSaysSo) {
  if (const char* folder = std::getenv("BMCPAIR_WRITE_TABLES")) {
    std::ofstream out(std::string(folder) + "/discussions.md");
    out << page();
    EXPECT_TRUE(out.good());
    return;
  }
  std::ifstream in(std::string(BMCPAIR_SOURCE_DIR) + "/docs/discussions.md");
  const std::string now{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(now, page()) << "docs/discussions.md is not current: BMCPAIR_WRITE_TABLES=docs integration_scenarios_test";
}

}  // namespace
}  // namespace bmcpair::scenarios
