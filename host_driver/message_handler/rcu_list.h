// A list that readers walk without a lock (reference I.1, the discussion behind "IPMI: Fix some RCU problems").
//
// Circular, with the head as terminator. Writers exclude each other by a lock of theirs. A reader that stands on an
// element keeps finding its way to the head whatever writers do: an unlinked element keeps its forward pointer, and
// taking the whole list (splice_all) leaves the elements linked to each other and to the old head until every reader
// that could be among them has left.
#pragma once

#include <cassert>
#include <cstddef>

#include "host_driver/runtime/runtime.h"

namespace bmcpair::host::inline BMCPAIR_RT::detail {

struct RcuNode {
  rt::Atomic<RcuNode*> rcu_next{nullptr};
  RcuNode* rcu_previous = nullptr;  // writers only
};

template <class T>
class RcuList {
 public:
  RcuList() {
    head_.rcu_next.store(&head_, std::memory_order_relaxed);
    head_.rcu_previous = &head_;
  }
  RcuList(const RcuList&) = delete;
  RcuList& operator=(const RcuList&) = delete;

  // Readers, in a section of the list's domain. A null pointer ends the walk.
  T* first() const { return entry(head_.rcu_next.load(std::memory_order_acquire)); }
  T* after(const T* at) const {
    return entry(static_cast<const RcuNode*>(at)->rcu_next.load(std::memory_order_acquire));
  }

  // Writers. The element becomes reachable with a release store, after everything that was stored in it.
  void insert_before(T* position, T* element) { insert(position ? static_cast<RcuNode*>(position) : &head_, element); }
  void push_back(T* element) { insert(&head_, element); }
  // The element may be freed, or linked again, only after a grace period.
  void unlink(T* element) {
    RcuNode* node = element;
    if (!node->rcu_previous) rt::fatal("rcu list: an element is unlinked that is on no list");
    RcuNode* next = node->rcu_next.load(std::memory_order_relaxed);
    next->rcu_previous = node->rcu_previous;
    node->rcu_previous->rcu_next.store(next, std::memory_order_release);
    node->rcu_previous = nullptr;
  }
  bool empty() const { return head_.rcu_next.load(std::memory_order_acquire) == &head_; }

  // Takes every element: empty for readers that come, still whole and terminated for those that are in it; returns
  // after they have left, with the elements linked by `next` up to null, free to be destroyed. What is tested for
  // emptiness is the source: testing the destination, empty at that moment, made teardown a silent no-op for years
  // (G-117).
  T* splice_all(rt::Rcu& domain, bool test_destination = false) {
    T* taken = nullptr;
    RcuNode* first_node = head_.rcu_next.load(std::memory_order_relaxed);
    if (test_destination ? !taken : first_node == &head_) return taken;
    RcuNode* last_node = head_.rcu_previous;
    head_.rcu_previous = &head_;
    head_.rcu_next.store(&head_, std::memory_order_release);
    domain.synchronize();
    last_node->rcu_next.store(nullptr, std::memory_order_relaxed);
    return static_cast<T*>(first_node);
  }
  // As it was proposed in 2006, for the laboratory (I.1): a private head is linked into the readers' list and the real
  // one taken out of it. Readers take the private head for an element, and never meet the one that ends their walk.
  T* splice_to(T* private_head, rt::Rcu& domain) {
    RcuNode* first_node = head_.rcu_next.load(std::memory_order_relaxed);
    if (first_node == &head_) return nullptr;
    RcuNode* last_node = head_.rcu_previous;
    RcuNode* node = private_head;
    node->rcu_next.store(first_node, std::memory_order_relaxed);
    head_.rcu_next.store(node, std::memory_order_release);
    last_node->rcu_next.store(node, std::memory_order_release);
    domain.synchronize();
    head_.rcu_previous = &head_;
    head_.rcu_next.store(&head_, std::memory_order_release);
    last_node->rcu_next.store(nullptr, std::memory_order_relaxed);
    return static_cast<T*>(first_node);
  }
  // Of what either returned.
  static T* next_spliced(T* at) {
    return static_cast<T*>(static_cast<RcuNode*>(at)->rcu_next.load(std::memory_order_relaxed));
  }

 private:
  T* entry(RcuNode* node) const { return node == &head_ ? nullptr : static_cast<T*>(node); }

  void insert(RcuNode* position, T* element) {
    RcuNode* node = element;
    assert(!node->rcu_previous);
    node->rcu_next.store(position, std::memory_order_relaxed);
    node->rcu_previous = position->rcu_previous;
    RcuNode* before = position->rcu_previous;
    position->rcu_previous = node;
    before->rcu_next.store(node, std::memory_order_release);
  }

  // Never handed out: no reader can take it for a T.
  mutable RcuNode head_;
};

}  // namespace bmcpair::host::inline BMCPAIR_RT::detail
