// The soak: many short runs, four slots, and a runner and a plane that are killed again and again,
// at whatever stage the runs are. At the end every run has one receipt that verifies, and nothing
// is left. SIGINT and SIGTERM ask for no more runs: those that are open are ended and looked at.
//   fault_soak RUNS [SEED]
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "fault/support/fault_world.h"

namespace {

using writ::test::FaultWorld;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kQueue = 20;  // runs that are open at a time
constexpr unsigned kKillsIn = 12;   // one look in so many kills the runner, one the plane
volatile std::sig_atomic_t enough = 0;

constexpr auto kLongest = std::chrono::minutes(5);  // a run that takes longer does not end

class Soak {
 public:
  Soak(int runs, unsigned seed) : runs_(runs), random_(seed) {}

  int Run() {
    world_.StartPlane();
    world_.StartRunner("", 4);
    for (int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { enough = 1; });
    while (problems_ == 0 && (submitted_ < runs_ || !open_.empty())) {
      if (enough != 0) runs_ = submitted_;
      while (open_.size() < kQueue && submitted_ < runs_) {
        open_[world_.SubmitTrue()] = Clock::now();
        ++submitted_;
      }
      KillPerhaps();
      poll(nullptr, 0, static_cast<int>(random_() % 400));
      LookAtRuns();
    }
    End();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    std::printf("%d runs in %.0f s (%.1f/s), %d kills of the runner, %d of the plane:", done_,
                seconds, done_ / seconds, kills_of_runner_, kills_of_plane_);
    for (const auto& [status, count] : outcomes_) std::printf(" %d %s", count, status.c_str());
    std::printf("; %d problems\n", problems_);
    return problems_ == 0 ? 0 : 1;
  }

 private:
  void Problem(const std::string& text) {
    std::printf("%s\n", text.c_str());
    ++problems_;
  }

  void KillPerhaps() {
    const unsigned dice = random_() % kKillsIn;
    if (dice == 0) {
      world_.KillRunner();
      world_.StartRunner("", 4);
      ++kills_of_runner_;
    } else if (dice == 1) {
      world_.KillPlane();
      world_.StartPlane();
      ++kills_of_plane_;
    }
  }

  // What has ended is looked at whole; the open ones are among the newest, in the order of their
  // submission.
  void LookAtRuns() {
    std::size_t reach = kQueue;
    for (;;) {
      const writ::json::Value list = world_.Runs(reach);
      std::size_t found = 0;
      for (const writ::json::Value& run : *list.if_array()) {
        const std::string id(run.FindString("runId").value_or(""));
        auto known = open_.find(id);
        if (known == open_.end()) continue;
        ++found;
        if (world_.Ended(run)) {
          ++outcomes_[std::string(run.FindString("status").value_or(""))];
          for (const std::string& problem : world_.ReceiptProblems(id))
            Problem(id + ": " + problem);
          open_.erase(known);
          --found;
          if (++done_ % 500 == 0) {
            std::printf("%d\n", done_);
            std::fflush(stdout);
          }
        } else if (Clock::now() - known->second > kLongest) {
          Problem(id + " is " + std::string(run.FindString("status").value_or("")) +
                  " and does not end");
        }
      }
      if (found >= open_.size()) return;
      if (reach > 100'000) return Problem("a run is not in the list any more");
      reach *= 4;  // one that waits has been overtaken by many
    }
  }

  void End() {
    if (!world_.Await([&] { return world_.WaitingReceipts().empty(); }, std::chrono::minutes(2)))
      Problem("receipts wait: " + world_.WaitingReceipts().front());
    if (int code = world_.DrainRunner(); code != 0)
      Problem("the runner ended with " + std::to_string(code));
    if (int code = world_.StopPlane(); code != 0)
      Problem("the plane ended with " + std::to_string(code));
    for (const std::string& problem : world_.LeftoverProblems()) Problem(problem);
    // Each run ended once: none more than were asked for, none in another state than it was seen
    // in.
    std::map<std::string, int> at_the_end;
    const writ::json::Value list = world_.Runs(1'000'000);
    for (const writ::json::Value& run : *list.if_array())
      ++at_the_end[std::string(run.FindString("status").value_or(""))];
    if (problems_ == 0 && at_the_end != outcomes_) {
      std::string both;
      for (const auto& [status, count] : outcomes_)
        both += " " + status + " " + std::to_string(count);
      both += ", at the end";
      for (const auto& [status, count] : at_the_end)
        both += " " + status + " " + std::to_string(count);
      Problem("the list at the end is another one:" + both);
    }
    if (problems_ > 0) std::printf("%s\n", world_.Log().c_str());
  }

  int runs_;
  std::mt19937 random_;
  const Clock::time_point begin_ = Clock::now();
  FaultWorld world_;
  std::map<std::string, Clock::time_point> open_;  // by id: when it was submitted
  std::map<std::string, int> outcomes_;
  int submitted_ = 0, done_ = 0, problems_ = 0;
  int kills_of_runner_ = 0, kills_of_plane_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const int runs = argc > 1 ? std::atoi(argv[1]) : 40;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
  if (runs < 1) {
    std::fprintf(stderr, "usage: fault_soak RUNS [SEED]\n");
    return 2;
  }
  return Soak(runs, seed).Run();
}
