#include "integration/lab/world.h"

#include "integration/lab/arena.h"

namespace bmcpair::lab {

namespace {

// The director is not of the run: what it remembers must outlive it.
class OutsideDirector final : public Director {
 public:
  explicit OutsideDirector(Director& director) : director_(director) { book_ = director.book(); }
  uint32_t choose(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) override {
    Outside outside;
    return director_.choose(kind, n, site, tasks);
  }

 private:
  Director& director_;
};

}  // namespace

Outcome run_world(Director& director, const RunOptions& options, const rt::WorldOptions& world_options,
                  const std::function<void(Run&)>& main) {
  Outcome outcome;
  {
    ArenaScope arena(arena_layout());
    OutsideDirector outside_director(director);
    rt::World::StoryFunction story;
    if (options.story) {
      story = [&](Instant at, uint64_t step, rt::World::Side side, std::string_view who, std::string text) {
        Outside outside;
        StoryLine line{at, step, static_cast<StoryLine::Side>(side), std::string(who), std::string(std::string_view(text))};
        if (options.on_line) {
          options.on_line(line);
        } else {
          outcome.story.push_back(std::move(line));
        }
      };
    }
    // Never destroyed: what a run that was cut off leaves must not begin to act again.
    rt::WorldOptions o = world_options;
    o.keep = keep_in_arena;
    auto& world = *new rt::World(outside_director, o, std::move(story));
    Run run{outside_director, options};
    world.run([&] { main(run); });
    Outside outside;
    outcome.oracle = std::string_view(world.oracle());
    outcome.sentence = std::string_view(world.sentence());
    outcome.steps = world.steps();
    outcome.bring_ups = run.bring_ups;
    outcome.virtual_time = world.now().time_since_epoch();
    outcome.end_hash = world.hash();
  }
  return outcome;
}

}  // namespace bmcpair::lab
