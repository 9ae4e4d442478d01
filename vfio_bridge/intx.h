// A PCI function's INTx over vfio-user: level at the device, an eventfd to the client.
//
// The contract (reference vfio_user_qemu.md §4): signal once when the line rises, then be masked until the client
// unmasks (VFIO_IRQ_INFO_AUTOMASKED), and signal again at once if the line is still high then. Never signal while
// masked. Thread safe: the level comes from the port's context, the rest from the client's connection.
#pragma once

#include <cstdint>
#include <mutex>

#include "vfio_bridge/unique_fd.h"

namespace bmcpair::vfio_bridge {

class Intx {
 public:
  struct Counts {
    uint64_t fired = 0;
    uint64_t unmasked = 0;
  };

  void set_level(bool level);
  bool level() const;
  // PCI Command bit 10.
  void set_disabled(bool disabled);

  // Replaces the eventfd; a line that is high signals the new one, since whoever waits on it saw nothing yet. An empty
  // one takes it away.
  void assign(UniqueFd trigger);
  void mask();
  void unmask();
  // The client asks for an interrupt: signalled whatever the line, no mask is set or looked at.
  void trigger();
  // Everything back to how a connection begins; the line keeps its level.
  void disable();

  // The line is low from here on, whatever the device says.
  void quiet();
  // A signal that the client has not unmasked after yet: its guest's line is still high.
  bool pending() const;

  // An eventfd on which the *client* tells of an unmask (KVM's resample descriptor). The caller polls it.
  void assign_unmask(UniqueFd fd) { unmask_fd_ = std::move(fd); }
  int unmask_fd() const { return unmask_fd_.get(); }

  Counts counts() const;

 private:
  void fire_if_due();

  mutable std::mutex mutex_;
  UniqueFd trigger_;
  bool level_ = false;
  bool disabled_ = false;
  bool quiet_ = false;
  bool masked_by_client_ = false;
  bool masked_by_firing_ = false;
  Counts counts_;
  UniqueFd unmask_fd_;  // the connection's own; not under the mutex
};

}  // namespace bmcpair::vfio_bridge
