#include "bmc_emu/board/fleet.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "bmc_emu/board/scheduler.h"
#include "bmc_emu/board/stores.h"

namespace bmcpair::board {
namespace {

constexpr size_t kNamesInErrors = 5;

class BoardTask final : public Scheduler::Task {
 public:
  explicit BoardTask(Board* board) : board_(board) {}
  Instant run(Instant now) override { return board_->run(now); }
  Instant next_due() const override { return board_->next_due(); }

 private:
  Board* board_;  // wakes only while it lives (Board::shutdown), runs only until the scheduler has stopped
};

// Who watches. A subscriber that has gone is not called any more when its handle's destructor returns; it may go from
// inside its own function.
struct Subscriber {
  std::recursive_mutex mutex;
  bool active = true;
  std::function<void(const BoardEvent&)> function;
};

class Subscribers {
 public:
  // Whether this thread is inside a subscriber's function.
  static bool& dispatching() {
    thread_local bool inside = false;
    return inside;
  }
  void dispatch(const BoardEvent& event) {
    bool outer = std::exchange(dispatching(), true);
    std::vector<std::shared_ptr<Subscriber>> all;
    {
      std::shared_lock<std::shared_mutex> lock(mutex_);
      all = subscribers_;
    }
    for (const auto& subscriber : all) {
      std::lock_guard<std::recursive_mutex> lock(subscriber->mutex);
      if (subscriber->active) subscriber->function(event);
    }
    dispatching() = outer;
  }
  size_t add(std::shared_ptr<Subscriber> subscriber) {
    std::unique_lock<std::shared_mutex> lock(mutex_);
    subscribers_.push_back(std::move(subscriber));
    return subscribers_.size();
  }
  void remove(const std::shared_ptr<Subscriber>& subscriber) {
    {
      std::unique_lock<std::shared_mutex> lock(mutex_);
      subscribers_.erase(std::remove(subscribers_.begin(), subscribers_.end(), subscriber), subscribers_.end());
    }
    std::lock_guard<std::recursive_mutex> lock(subscriber->mutex);
    subscriber->active = false;
  }
  bool empty() const {
    std::shared_lock<std::shared_mutex> lock(mutex_);
    return subscribers_.empty();
  }

 private:
  mutable std::shared_mutex mutex_;
  std::vector<std::shared_ptr<Subscriber>> subscribers_;
};

class FleetImpl final : public Fleet {
 public:
  FleetImpl() : scheduler_(std::make_shared<Scheduler>()), watch_(std::make_shared<Watch>()) {}

  Status start(std::vector<BoardConfig> configs, const FleetOptions& options) {
    if (configs.empty()) return Error{ErrorCode::kInvalidArgument, "there is no BMC in the configuration"};
    auto stores = Stores::create(options.state_directory, options.state_failed);
    if (!stores) return stores.error();
    stores_ = std::move(*stores);
    int64_t unix_seconds = std::chrono::duration_cast<std::chrono::seconds>(
                               std::chrono::system_clock::now().time_since_epoch() - (scheduler_->now() - Instant{}))
                               .count();
    std::vector<std::unique_ptr<Scheduler::Task>> tasks;
    boards_.reserve(configs.size());
    tasks.reserve(configs.size());
    for (BoardConfig& config : configs) {
      std::string name = config.firmware.name;
      if (name.empty() || name.find('/') != std::string::npos) {
        return Error{ErrorCode::kInvalidArgument, "'" + name + "' cannot name a BMC: not empty, no '/'"};
      }
      size_t index = boards_.size();
      if (!index_.emplace(name, index).second) {
        return Error{ErrorCode::kAlreadyExists, "two BMCs are named " + name};
      }
      config.firmware.unix_seconds_at_zero = unix_seconds;
      auto store = stores_->open(name);
      if (!store) return Error{store.error().code, "BMC " + name + ": " + store.error().message};
      auto board = Board::create(
          std::move(config), std::move(*store), [scheduler = scheduler_] { return scheduler->now(); },
          [scheduler = scheduler_, index] { scheduler->wake(index); });
      if (!board) return board.error();
      boards_.push_back(std::move(*board));
      tasks.push_back(std::make_unique<BoardTask>(boards_.back().get()));
    }
    watch_->boards.assign(boards_.begin(), boards_.end());
    scheduler_->start(std::move(tasks), options.threads);
    return {};
  }

  ~FleetImpl() override { shutdown(); }

  Instant now() const override { return scheduler_->now(); }

  std::vector<std::string> names() const override {
    std::vector<std::string> out;
    out.reserve(boards_.size());
    for (const auto& board : boards_) out.push_back(board->name());
    return out;
  }

  Result<std::shared_ptr<Board>> find(std::string_view name) const override {
    if (name.empty() && boards_.size() == 1) return boards_.front();
    if (auto found = index_.find(name); found != index_.end()) return boards_[found->second];
    std::string there;
    for (size_t i = 0; i < boards_.size() && i < kNamesInErrors; ++i) there += (i ? ", " : "") + boards_[i]->name();
    if (boards_.size() > kNamesInErrors) there += "... (" + std::to_string(boards_.size()) + " in all)";
    if (name.empty()) return Error{ErrorCode::kNotFound, "there are several BMCs, name one: " + there};
    return Error{ErrorCode::kNotFound,
                 "there is no BMC '" + std::string(name.substr(0, 80)) + "'; there are: " + there};
  }

  Result<std::unique_ptr<registers::RegisterPort>> attach(std::string_view path, std::string_view who) override {
    size_t slash = path.find('/');
    auto board = find(path.substr(0, slash));
    if (!board) return board.error();
    return (*board)->attach(slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1),
                            std::string(who));
  }

  std::shared_ptr<void> subscribe(std::function<void(const BoardEvent&)> f) override {
    auto subscriber = std::make_shared<Subscriber>();
    subscriber->function = std::move(f);
    watch_->subscribers.add(subscriber);
    watch_->update();
    // The handle may outlive the fleet.
    return std::shared_ptr<void>(subscriber.get(), [subscriber, watch = watch_](void*) {
      watch->subscribers.remove(subscriber);
      // Switching the boards' events off waits for those under way; from inside one that would be for ever, and events
      // without a subscriber do no harm until the next change here.
      if (!Subscribers::dispatching()) watch->update();
    });
  }

  void shutdown() override {
    scheduler_->stop();
    for (const auto& board : boards_) board->shutdown();
  }

 private:
  // Boards make events only while somebody watches.
  struct Watch : std::enable_shared_from_this<Watch> {
    Subscribers subscribers;
    std::mutex mutex;  // of what follows
    std::vector<std::weak_ptr<Board>> boards;
    bool on = false;

    void update() {
      std::lock_guard<std::mutex> lock(mutex);
      bool wanted = !subscribers.empty();
      if (wanted == on) return;
      on = wanted;
      for (const auto& weak : boards) {
        auto board = weak.lock();
        if (!board) continue;
        if (wanted) {
          board->set_event_function(
              [watch = shared_from_this()](const BoardEvent& event) { watch->subscribers.dispatch(event); });
        } else {
          board->set_event_function({});
        }
      }
    }
  };

  std::shared_ptr<Scheduler> scheduler_;
  std::shared_ptr<Watch> watch_;
  std::unique_ptr<Stores> stores_;
  std::vector<std::shared_ptr<Board>> boards_;
  std::map<std::string, size_t, std::less<>> index_;
};

}  // namespace

Result<std::unique_ptr<Fleet>> Fleet::create(std::vector<BoardConfig> boards, FleetOptions options) {
  auto fleet = std::make_unique<FleetImpl>();
  if (Status started = fleet->start(std::move(boards), options); !started) return started.error();
  return std::unique_ptr<Fleet>(std::move(fleet));
}

}  // namespace bmcpair::board
