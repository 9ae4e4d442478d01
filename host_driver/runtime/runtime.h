// The small kernel the driver stands on (design.md §4 "One source, two runtimes"). Driver code is plain blocking
// code on these types and touches no other lock, atomic, wait, thread or clock. native/ builds them on threads;
// the laboratory builds the same names on fibers under a chooser by defining BMCPAIR_RT_MODELLED.
//
// Contract, whichever build:
//   rt::now()                                  Instant of the driver's monotonic clock
//   rt::sleep_for(Duration)                    not in atomic context
//   rt::cpu_relax(Duration)                    a short spin; allowed anywhere, bounded by its argument
//   rt::spin_pause(what, turn), spin_end(what) one turn of a spin lock's wait, and its end for those who wait; no interrupt
//                                              point, allowed anywhere
//   rt::Mutex, rt::LockGuard, rt::UniqueLock   Mutex: lock, unlock, try_lock
//   rt::Atomic<T>                              load/store/exchange/compare_exchange/fetch_add with explicit orders
//   rt::Counter                                what is only counted and shown: add, value; orders nothing
//   rt::fence(order)                           std::atomic_thread_fence
//   rt::Shared<T>                              plain data shared under some other order: read(), write(); races are found modelled
//   rt::Tracked                                a base of what must end once, and be touched by nobody then: touch()
//   rt::fatal(what)                            a mistake of ours
//   rt::WaitQueue                              wait(UniqueLock&, pred), wait_until(UniqueLock&, Instant, pred) -> bool, wake_one, wake_all
//   rt::Thread                                 start(name, function), join; join is required before destruction
//   rt::Timer                                  constructed with its callback; arm(Instant), cancel (callback not running and will not
//                                              run unless armed again, when it returns), cancel_nowait, armed. Callbacks run on worker
//                                              threads, one at a time per timer, and may block on a register port.
//   rt::Work                                   a queued call: schedule() (coalesces while pending), cancel_and_wait, flush. Same workers.
//   rt::Rcu, rt::RcuReader                     read-side section; synchronize() waits for all sections begun before it
//   rt::Cpu, rt::cross_call                    H.1: run a function on the other CPUs (threads registered as Cpus) without allocation;
//                                              used by the panic path
//   rt::disable_interrupts, enable_interrupts  this thread is not stopped in between, for a bounded time
//   rt::panicking()                            set once by rt::begin_panic(); nothing blocks or locks afterwards
//   rt::fault_point("name")                    true when a fault was asked for there; false natively unless a hook is set
#pragma once

#if defined(BMCPAIR_RT_MODELLED)
#define BMCPAIR_RT modelled
#include "host_driver/runtime/modelled/runtime.h"
#else
#define BMCPAIR_RT native
#include "host_driver/runtime/native/runtime.h"
#endif
