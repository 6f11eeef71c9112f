// The soak: many short runs, four slots, and a runner and a plane that are killed again and again.
// At the end every run has one receipt that verifies, and nothing is left.
//   fault_soak RUNS [SEED]
#include <poll.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "fault/support/fault_world.h"

int main(int argc, char** argv) {
  using writ::test::FaultWorld;
  const int runs = argc > 1 ? std::atoi(argv[1]) : 40;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
  if (runs < 1) {
    std::fprintf(stderr, "usage: fault_soak RUNS [SEED]\n");
    return 2;
  }
  std::mt19937 random(seed);
  const auto begin = std::chrono::steady_clock::now();
  FaultWorld world;
  world.StartPlane();
  world.StartRunner("", 4);
  std::vector<std::string> ids;
  int kills_of_runner = 0, kills_of_plane = 0;
  auto maybe_kill = [&] {
    const unsigned dice = random() % 12;
    if (dice == 0) {
      world.KillRunner();
      world.StartRunner("", 4);
      ++kills_of_runner;
    } else if (dice == 1) {
      world.KillPlane();
      world.StartPlane();
      ++kills_of_plane;
    }
  };
  constexpr int kBatch = 20;
  int done = 0;
  std::size_t problems = 0;
  std::map<std::string, int> outcomes;
  while (done < runs) {
    // Bounded: the queue is never longer than a batch, so that kills meet every stage of a run.
    ids.clear();
    for (int i = 0; i < kBatch && done + static_cast<int>(ids.size()) < runs; ++i)
      ids.push_back(world.SubmitTrue());
    const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(5);
    std::map<std::string, std::string> open;
    for (;;) {
      open.clear();
      const writ::json::Value list = world.Runs();
      for (const writ::json::Value& run : *list.if_array())
        if (!world.Ended(run))
          open[std::string(run.FindString("runId").value_or(""))] =
              run.FindString("status").value_or("");
      if (open.empty() || std::chrono::steady_clock::now() > limit) break;
      maybe_kill();
      poll(nullptr, 0, static_cast<int>(random() % 400));
    }
    for (const auto& [run, status] : open) {
      std::printf("%s is %s and does not end\n", run.c_str(), status.c_str());
      ++problems;
    }
    if (!open.empty()) break;
    for (const std::string& id : ids) {
      ++outcomes[std::string(world.Run(id).FindString("status").value_or(""))];
      for (const std::string& problem : world.ReceiptProblems(id)) {
        std::printf("%s: %s\n", id.c_str(), problem.c_str());
        ++problems;
      }
    }
    done += static_cast<int>(ids.size());
  }
  if (!world.Await([&] { return world.WaitingReceipts().empty(); }, std::chrono::minutes(2))) {
    std::printf("receipts wait: %s\n", world.WaitingReceipts().front().c_str());
    ++problems;
  }
  if (int code = world.DrainRunner(); code != 0) {
    std::printf("the runner ended with %d\n", code);
    ++problems;
  }
  if (int code = world.StopPlane(); code != 0) {
    std::printf("the plane ended with %d\n", code);
    ++problems;
  }
  for (const std::string& problem : world.LeftoverProblems()) {
    std::printf("%s\n", problem.c_str());
    ++problems;
  }
  if (problems > 0) std::printf("%s\n", world.Log().c_str());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%d runs in %.0f s (%.1f/s), %d kills of the runner, %d of the plane:", done, seconds,
              done / seconds, kills_of_runner, kills_of_plane);
  for (const auto& [status, count] : outcomes) std::printf(" %d %s", count, status.c_str());
  std::printf("; %zu problems\n", problems);
  return problems == 0 ? 0 : 1;
}
