// Seed 0: the list that was reviewed in December 2006, with what the review found as tests (reference I.1).
#include "host_driver/message_handler/rcu_list.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "host_driver/message_handler/fake_smi.h"

namespace bmcpair::host::inline BMCPAIR_RT {
namespace {

using detail::RcuList;
using detail::RcuNode;

struct Item : RcuNode {
  explicit Item(int v = 0) : value(v) {}
  ~Item() { value = -1; }
  int value;
};

std::vector<int> values(RcuList<Item>& list) {
  std::vector<int> out;
  for (Item* i = list.first(); i; i = list.after(i)) out.push_back(i->value);
  return out;
}

TEST(RcuList, KeepsItsOrder) {
  RcuList<Item> list;
  Item a(1), b(2), c(3), d(4);
  EXPECT_TRUE(list.empty());
  list.push_back(&b);
  list.push_back(&d);
  list.insert_before(&b, &a);
  list.insert_before(&d, &c);
  EXPECT_EQ(values(list), (std::vector<int>{1, 2, 3, 4}));
  list.unlink(&c);
  EXPECT_EQ(values(list), (std::vector<int>{1, 2, 4}));
  list.insert_before(nullptr, &c);
  EXPECT_EQ(values(list), (std::vector<int>{1, 2, 4, 3}));
}

TEST(RcuList, AReaderOnAnUnlinkedElementFindsItsWayHome) {
  RcuList<Item> list;
  Item a(1), b(2), c(3);
  for (Item* i : {&a, &b, &c}) list.push_back(i);
  Item* reader = list.after(list.first());
  list.unlink(&b);
  list.unlink(&c);
  ASSERT_EQ(reader, &b);
  EXPECT_EQ(list.after(reader), &c);  // gone, but not yet freed
  EXPECT_EQ(list.after(&c), nullptr);
}

// I.1, as proposed in 2006: the reader is never where it began, and the private head is an element to it.
TEST(RcuList, APrivateHeadAmongTheReadersKeepsThemForEver) {
  RcuList<Item> list;
  rt::Rcu rcu;
  Item a(1), b(2), c(3), head(99);
  for (Item* i : {&a, &b, &c}) list.push_back(i);
  rt::Thread writer;
  Item* taken = nullptr;
  unsigned steps = 0;
  bool met_the_private_head = false;
  {
    rt::RcuReader reader(rcu);
    Item* at = list.first();
    writer.start("splice", [&] { taken = list.splice_to(&head, rcu); });
    while (list.first() != &head) rt::cpu_relax(std::chrono::microseconds(20));
    while (list.after(&c) != &head) rt::cpu_relax(std::chrono::microseconds(20));
    for (; at && steps < 1000; at = list.after(at), ++steps) met_the_private_head |= at == &head;
  }
  writer.join();
  EXPECT_EQ(steps, 1000u);
  EXPECT_TRUE(met_the_private_head);
  EXPECT_EQ(taken, &a);
  EXPECT_EQ(list.next_spliced(&c), nullptr);
  EXPECT_TRUE(list.empty());
}

// G-117.
TEST(RcuList, TheHelperThatTestedTheWrongListTakesNothing) {
  RcuList<Item> list;
  rt::Rcu rcu;
  Item a(1);
  list.push_back(&a);
  EXPECT_EQ(list.splice_all(rcu, /*test_destination=*/true), nullptr);
  EXPECT_EQ(values(list), std::vector<int>{1});
  EXPECT_EQ(list.splice_all(rcu), &a);
}

// G-01: a reader at element 3 of 5 when the list is taken meets the old head; one that starts after sees nothing; the
// elements are private only after the first has left.
TEST(RcuList, TakingAllLeavesReadersTheirTerminatorAndWaitsForThem) {
  RcuList<Item> list;
  rt::Rcu rcu;
  std::vector<std::unique_ptr<Item>> items;
  for (int i = 0; i < 5; ++i) {
    items.push_back(std::make_unique<Item>(i));
    list.push_back(items.back().get());
  }
  rt::Mutex m;
  rt::WaitQueue changed;
  bool standing = false, taken = false, leave = false;
  std::vector<int> first_reader;
  rt::Thread reader;
  reader.start("reader", [&] {
    rt::RcuReader section(rcu);
    Item* at = list.first();
    for (int i = 0; i < 2; ++i, at = list.after(at)) first_reader.push_back(at->value);
    rt::UniqueLock lock(m);
    standing = true;
    changed.wake_all();
    changed.wait(lock, [&] { return leave; });
    for (; at; at = list.after(at)) first_reader.push_back(at->value);
  });
  {
    rt::UniqueLock lock(m);
    ASSERT_TRUE(changed.wait_until(lock, soon(), [&] { return standing; }));
  }
  std::vector<int> spliced;
  rt::Thread writer;
  writer.start("writer", [&] {
    for (Item* i = list.splice_all(rcu); i;) {
      Item* after = RcuList<Item>::next_spliced(i);
      spliced.push_back(i->value);
      items[static_cast<size_t>(i->value)].reset();  // freed: the reader must not be there any more
      i = after;
    }
    rt::LockGuard lock(m);
    taken = true;
  });
  // The list is empty to new readers while the writer still waits.
  while (!list.empty()) rt::cpu_relax(std::chrono::microseconds(20));
  {
    rt::RcuReader section(rcu);
    EXPECT_EQ(list.first(), nullptr);
  }
  {
    rt::LockGuard lock(m);
    EXPECT_FALSE(taken);
    leave = true;
    changed.wake_all();
  }
  reader.join();
  writer.join();
  EXPECT_EQ(first_reader, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_EQ(spliced, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(taken);
}

// G-117: it is the source whose emptiness means "nothing to do".
TEST(RcuList, TakingAllOfAnEmptyListGivesNothingAndOfAFullOneEverything) {
  RcuList<Item> list;
  rt::Rcu rcu;
  EXPECT_EQ(list.splice_all(rcu), nullptr);
  Item a(1);
  list.push_back(&a);
  EXPECT_EQ(list.splice_all(rcu), &a);
  EXPECT_EQ(RcuList<Item>::next_spliced(&a), nullptr);
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.splice_all(rcu), nullptr);
  Item b(2);
  list.push_back(&b);  // usable again
  EXPECT_EQ(values(list), std::vector<int>{2});
}

// I0-1, I0-3 under threads: every walk ends, within the elements that ever were, and never stands on freed memory.
TEST(RcuList, WalksEndWhileWritersInsertUnlinkAndTakeAll) {
  RcuList<Item> list;
  rt::Rcu rcu;
  rt::Mutex writers;
  rt::Atomic<bool> stop{false};
  rt::Atomic<int> inserted{0};
  rt::Atomic<int> bad{0};
  std::vector<std::unique_ptr<rt::Thread>> threads;
  for (int r = 0; r < 2; ++r) {
    threads.push_back(std::make_unique<rt::Thread>());
    threads.back()->start("reader", [&] {
      while (!stop.load(std::memory_order_acquire)) {
        rt::RcuReader section(rcu);
        int steps = 0;
        for (Item* i = list.first(); i; i = list.after(i)) {
          if (i->value < 0) bad.fetch_add(1, std::memory_order_relaxed);
          ++steps;
        }
        if (steps > inserted.load(std::memory_order_acquire)) bad.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  for (int w = 0; w < 2; ++w) {
    threads.push_back(std::make_unique<rt::Thread>());
    threads.back()->start("writer", [&, w] {
      for (int n = 0; n < 400; ++n) {
        auto mine = std::make_unique<Item>(n);
        inserted.fetch_add(1, std::memory_order_acq_rel);
        Item* all = nullptr;
        {
          rt::LockGuard lock(writers);
          list.insert_before(n % 2 ? list.first() : nullptr, mine.get());
          if (w == 0 && n % 50 == 49) {
            all = list.splice_all(rcu);
            mine.release();
          }
        }
        if (all) {
          while (all) {
            Item* after = RcuList<Item>::next_spliced(all);
            delete all;
            all = after;
          }
          continue;
        }
        if (n % 3 == 0) {
          mine.release();  // stays until somebody takes all
          continue;
        }
        {
          rt::LockGuard lock(writers);
          bool there = false;
          for (Item* i = list.first(); i; i = list.after(i)) there |= i == mine.get();
          if (!there) {
            mine.release();  // the other writer took and freed it
            continue;
          }
          list.unlink(mine.get());
        }
        rcu.synchronize();
      }
    });
  }
  threads[2]->join();
  threads[3]->join();
  stop.store(true, std::memory_order_release);
  threads[0]->join();
  threads[1]->join();
  for (Item* i = list.splice_all(rcu); i;) {
    Item* after = RcuList<Item>::next_spliced(i);
    delete i;
    i = after;
  }
  EXPECT_EQ(bad.load(std::memory_order_relaxed), 0);
}

}  // namespace
}  // namespace bmcpair::host::inline BMCPAIR_RT
