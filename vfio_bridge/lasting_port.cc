#include "vfio_bridge/lasting_port.h"

#include <algorithm>
#include <utility>

namespace bmcpair::vfio_bridge {

using registers::AwayRegisters;
using registers::InterfaceKind;
using registers::LinkState;
namespace bt = registers::bt;
namespace kcs = registers::kcs;
namespace smic = registers::smic;

LastingPort::LastingPort(LastingPortOptions options, Port first)
    : options_(std::move(options)), away_(options_.kind), since_(std::chrono::steady_clock::now()) {
  if (first) {
    adopt(std::move(first));
    std::lock_guard lock(mutex_);
    if (LinkState link = inner_->link(); link.up) come_back(link.generation);
  }
  thread_ = std::thread([this] { run(); });
}

LastingPort::~LastingPort() {
  {
    std::lock_guard lock(event_mutex_);
    ending_ = true;
    event_changed_.notify_all();
  }
  thread_.join();
  inner_.reset();
}

void LastingPort::say(const std::string& text) const {
  if (options_.log) options_.log(text);
}

void LastingPort::wake() {
  std::lock_guard lock(event_mutex_);
  event_ = true;
  event_changed_.notify_all();
}

bool LastingPort::present() const {
  std::lock_guard lock(mutex_);
  return present_;
}

// Not with mutex_ held: the port's handlers may run at once.
void LastingPort::adopt(Port port) {
  {
    std::lock_guard lock(handler_mutex_);
    level_ = false;
  }
  std::string reason = port->link().reason;
  port->set_interrupt_handler([this](bool level) {
    std::lock_guard lock(handler_mutex_);
    level_ = level;
    if (line_open_ && handler_) handler_(level);
  });
  port->set_link_handler([this](const LinkState&) { wake(); });
  std::lock_guard lock(mutex_);
  first_reason_ = std::move(reason);
  inner_ = std::move(port);
}

void LastingPort::run() {
  for (;;) {
    Port retired;
    bool wants_port = false;
    {
      std::lock_guard lock(mutex_);
      if (inner_) {
        LinkState link = inner_->link();
        if (present_) {
          still_there();
        } else if (!lost_ && link.up) {
          come_back(link.generation);
        } else if (link.generation > 0) {
          lost_ = true;  // came and went unseen
        } else if (!lost_ && said_ != link.reason && first_reason_ != link.reason) {
          said_ = link.reason;
          say("the BMC is not there: " + link.reason);
        }
      }
      if (lost_) {
        retired = std::move(inner_);
        lost_ = false;
      }
      wants_port = !inner_;
    }
    retired.reset();
    bool try_again = false;
    if (wants_port) {
      if (auto port = options_.open(); port) {
        adopt(*std::move(port));
        wake();  // it may have come up before anybody listened
      } else {
        try_again = true;
        std::lock_guard lock(mutex_);
        std::string reason = port.error().to_string();
        if (said_ != reason) say("the BMC cannot be reached: " + reason);
        said_ = std::move(reason);
      }
    }
    std::unique_lock lock(event_mutex_);
    auto something = [this] { return event_ || ending_; };
    if (try_again) {
      event_changed_.wait_for(lock, options_.retry_wait, something);
    } else {
      event_changed_.wait(lock, something);
    }
    event_ = false;
    if (ending_) return;
  }
}

void LastingPort::set_line_open(bool open) {
  std::lock_guard lock(handler_mutex_);
  bool before = line_open_ && level_;
  line_open_ = open;
  bool now = line_open_ && level_;
  if (before != now && handler_) handler_(now);
}

void LastingPort::set_interrupt_handler(InterruptHandler handler) {
  std::lock_guard lock(handler_mutex_);
  handler_ = std::move(handler);
  if (handler_ && line_open_ && level_) handler_(true);
}

void LastingPort::come_back(uint64_t generation) {
  present_ = true;
  generation_ = generation;
  cut_ = in_transfer_;
  answer_there_ = false;
  rewound_ = false;
  if (options_.kind == InterfaceKind::kBt) {
    if (h_busy_) inner_->write(bt::kCtrl, bt::kHBusy);
    if (irq_enable_) inner_->write(bt::kIntMask, bt::kB2hIrqEnable);
  }
  auto away_ms = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - since_);
  std::string transfer = cut_ ? "; a transfer was cut off" : "";
  say("the BMC is there, after " + std::to_string(away_ms.count()) + " ms" + transfer);
  said_.clear();
  set_line_open(true);
}

void LastingPort::go_away(const std::string& reason) {
  present_ = false;
  lost_ = true;
  since_ = std::chrono::steady_clock::now();
  away_ = AwayRegisters(options_.kind);
  if (options_.kind == InterfaceKind::kBt) {
    if (h_busy_) away_.write(bt::kCtrl, bt::kHBusy);
    if (irq_enable_) away_.write(bt::kIntMask, bt::kB2hIrqEnable);
  }
  said_ = reason;
  say("the BMC is gone, its registers are those of a BMC that reboots: " +
      (reason.empty() ? "it was attached anew" : reason));
  set_line_open(false);
  wake();
}

// Whether the last access was the BMC's; an answer that came with the loss counts as none.
bool LastingPort::still_there() {
  LinkState link = inner_->link();
  if (link.up && link.generation == generation_) return true;
  go_away(link.reason);
  return false;
}

// Notes what the host learns from the BMC's registers, and shows it ERROR instead of what a transfer that was cut off
// could take for its own.
uint8_t LastingPort::host_reads(uint16_t offset, uint8_t value) {
  switch (options_.kind) {
    case InterfaceKind::kKcs:
      if (offset != kcs::kStatus) break;
      if (cut_) {
        return static_cast<uint8_t>((value & ~kcs::kStateMask) | registers::away_flags(InterfaceKind::kKcs));
      }
      if (kcs::state_of(value) == kcs::State::kIdle && (value & kcs::kIbf) == 0) in_transfer_ = false;
      break;
    case InterfaceKind::kBt:
      if (offset != bt::kCtrl) break;
      h_busy_ = (value & bt::kHBusy) != 0;
      if ((value & bt::kB2hAtn) != 0) answer_there_ = true;
      break;
    case InterfaceKind::kSmic: break;
  }
  return value;
}

bool LastingPort::lets_through(uint16_t offset, uint8_t& value) {
  if (!cut_) return true;
  switch (options_.kind) {
    case InterfaceKind::kKcs:
      if (offset != kcs::kCommand || (value != kcs::kWriteStart && value != kcs::kGetStatusAbort)) return false;
      cut_ = false;
      return true;
    case InterfaceKind::kBt:
      if (offset == bt::kBuffer) return false;
      if (offset != bt::kCtrl) return true;
      if ((value & bt::kClrWrPtr) != 0) {
        cut_ = false;
        return true;
      }
      value = static_cast<uint8_t>(value & ~bt::kH2bAtn);
      return value != 0;
    case InterfaceKind::kSmic:
      if (offset != smic::kFlags || (value & smic::kBusy) == 0) return true;
      cut_ = false;
      return false;
  }
  return true;
}

void LastingPort::host_writes(uint16_t offset, uint8_t value) {
  switch (options_.kind) {
    case InterfaceKind::kKcs: in_transfer_ = true; return;
    case InterfaceKind::kSmic:
      if (offset != smic::kFlags) {
        in_transfer_ = true;
      } else if ((value & smic::kBusy) != 0) {
        in_transfer_ = false;
      }
      return;
    case InterfaceKind::kBt: break;
  }
  if (offset == bt::kIntMask) {
    irq_enable_ = (value & bt::kB2hIrqEnable) != 0;
  } else if (offset == bt::kBuffer) {
    in_transfer_ = true;
  } else if (offset == bt::kCtrl) {
    if ((value & bt::kHBusy) != 0) h_busy_ = !h_busy_;
    if ((value & bt::kClrRdPtr) != 0) rewound_ = true;
    if ((value & (bt::kClrWrPtr | bt::kH2bAtn)) != 0) in_transfer_ = false;
    if ((value & bt::kH2bAtn) != 0) answer_there_ = false;
    if ((value & (bt::kClrRdPtr | bt::kH2bAtn)) != 0) {
      answer_.clear();
      answer_read_ = 0;
    }
  }
}

// BT's buffer. The answer's bytes are here before the host gets the first.
void LastingPort::read_buffer(std::span<uint8_t> out) {
  if (present_ && rewound_ && answer_there_ && answer_read_ == answer_.size()) {
    answer_.resize(bt::kFrameBytesMax);
    answer_.resize(inner_->read_counted(bt::kBuffer, answer_));
    answer_read_ = 0;
    rewound_ = false;
    if (!still_there()) answer_.clear();
  }
  size_t n = std::min(out.size(), answer_.size() - answer_read_);
  std::copy_n(answer_.begin() + static_cast<std::ptrdiff_t>(answer_read_), n, out.begin());
  answer_read_ += n;
  out = out.subspan(n);
  if (out.empty()) return;
  if (present_) {
    inner_->read_burst(bt::kBuffer, out);
    if (still_there()) return;
  }
  std::fill(out.begin(), out.end(), away_.read(bt::kBuffer));
}

uint8_t LastingPort::read(uint16_t offset) {
  std::lock_guard lock(mutex_);
  uint8_t value = 0;
  if (options_.kind == InterfaceKind::kBt && offset == bt::kBuffer) {
    read_buffer({&value, 1});
    return value;
  }
  if (present_) {
    value = inner_->read(offset);
    if (still_there()) return host_reads(offset, value);
  }
  return away_.read(offset);
}

void LastingPort::read_burst(uint16_t offset, std::span<uint8_t> out) {
  if (out.empty()) return;
  std::lock_guard lock(mutex_);
  if (options_.kind == InterfaceKind::kBt && offset == bt::kBuffer) return read_buffer(out);
  if (present_) {
    inner_->read_burst(offset, out);
    if (still_there()) {
      for (uint8_t& value : out) value = host_reads(offset, value);
      return;
    }
  }
  std::fill(out.begin(), out.end(), away_.read(offset));
}

void LastingPort::write(uint16_t offset, uint8_t value) {
  std::lock_guard lock(mutex_);
  const bool was_present = present_;
  if (present_) {
    uint8_t through = value;
    if (lets_through(offset, through)) inner_->write(offset, through);
  }
  host_writes(offset, value);
  if (was_present && still_there()) return;
  // Lost with this very write: what is the host's own is in the registers already.
  if (was_present && options_.kind == InterfaceKind::kBt && offset == bt::kCtrl) value &= bt::kH2bAtn;
  away_.write(offset, value);
}

void LastingPort::write_burst(uint16_t offset, std::span<const uint8_t> in) {
  // Only BT's buffer takes bursts; what is not let through of one byte is not of the others.
  if (options_.kind != InterfaceKind::kBt || offset != bt::kBuffer) {
    for (uint8_t value : in) write(offset, value);
    return;
  }
  if (in.empty()) return;
  std::lock_guard lock(mutex_);
  host_writes(offset, in[0]);
  if (!present_ || cut_) return;
  inner_->write_burst(offset, in);
  still_there();
}

}  // namespace bmcpair::vfio_bridge
