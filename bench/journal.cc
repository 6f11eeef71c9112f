// What the journal costs per run: the notes of a run of `true`, with a contract and events of usual
// size, timed and with every flush to the disk counted. The folder is below TMPDIR.
//   bench_journal [RUNS] [SESSIONS-AT-THE-SAME-TIME]
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "writ/protocol/events.h"
#include "writ/runner/journal.h"

namespace {
std::atomic<int> flushes{0};
}

// In front of the C library's, so that SQLite's are counted.
extern "C" int fsync(int fd) {
  ++flushes;
  return static_cast<int>(syscall(SYS_fsync, fd));
}
extern "C" int fdatasync(int fd) {
  ++flushes;
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}

namespace {

using namespace writ;
using namespace writ::runner;

void Must(const Status& status) {
  if (status) return;
  std::fprintf(stderr, "%s\n", status.error().ToString().c_str());
  std::exit(1);
}

void TakeNotesOfOneRun(Journal& journal, const Clock& clock, const std::string& name) {
  const json::Value contract =
      json::Object{{"version", "warrant.contract.v1"}, {"task", std::string(2000, 't')}};
  protocol::EventChain chain(protocol::HashValue(contract));
  json::Array plane;
  for (int i = 0; i < 3; ++i)
    plane.push_back(chain.Append(clock.Now(), protocol::events::RunCreated()).ToJson());
  auto run = journal.Begin({protocol::RunId::Parse(name).value(), contract, plane, true, 0, true},
                           Secret(std::string(300, 'c')));
  if (!run) Must(run.error());
  Must((*run)->NoteAcknowledged(plane));
  auto steps = [&](int count) {
    for (int i = 0; i < count; ++i) Must((*run)->NoteStep("a step", StepPhase::kBegun));
  };
  auto events = [&](int count) {
    std::vector<protocol::Event> out;
    for (int i = 0; i < count; ++i)
      out.push_back(chain.Append(clock.Now(), protocol::events::Finding("code", "a finding")));
    return out;
  };
  steps(5);
  Must((*run)->NoteSession("s-0123456789abcdef01234567", "process"));
  Must((*run)->NoteEvents(events(4), ChainDelivery{3, 7}));
  steps(6);
  Must((*run)->NoteLeftovers("12345 67890 00000000-0000-0000-0000-000000000000"));
  steps(4);
  const std::vector<JournalUpload> uploads{
      {protocol::ArtifactKind::kDiff, "code-diff", protocol::Sha256("diff"), 4, false, ""},
      {protocol::ArtifactKind::kLog, "session-log", protocol::Sha256("log"), 3, false, ""}};
  Must((*run)->NoteCollected(events(5), json::Object{{"environment", std::string(1500, 'e')}},
                             uploads));
  steps(1);
  for (const JournalUpload& upload : uploads) Must((*run)->NoteUploaded(upload.digest));
  steps(1);
  Must((*run)->NoteReceipt(json::Object{{"receipt", std::string(3000, 'r')}}));
  Must((*run)->NoteEvents(events(5), ChainDelivery{7, 17}));
  Must((*run)->Close());
}

}  // namespace

int main(int argc, char** argv) {
  const int runs = argc > 1 ? std::atoi(argv[1]) : 500;
  const int sessions = argc > 2 ? std::atoi(argv[2]) : 1;
  if (runs < 1 || sessions < 1) return 2;
  std::string dir = (std::filesystem::temp_directory_path() / "writ-bench-XXXXXX").string();
  if (mkdtemp(dir.data()) == nullptr) return 1;
  {
    SystemClock clock;
    auto journal = OpenJournal(dir, clock);
    if (!journal) Must(journal.error());
    (*journal)->UseKeys({std::string(113, 'p'), std::string(113, 'r')});
    const int before = flushes;
    std::vector<double> times(static_cast<std::size_t>(runs));
    std::atomic<int> next{0};
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::jthread> threads;
    for (int t = 0; t < sessions; ++t)
      threads.emplace_back([&] {
        for (int i = next++; i < runs; i = next++) {
          const auto start = std::chrono::steady_clock::now();
          TakeNotesOfOneRun(**journal, clock, "run_" + std::to_string(i));
          times[static_cast<std::size_t>(i)] =
              std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
                  .count();
        }
      });
    threads.clear();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::sort(times.begin(), times.end());
    std::printf(
        "%d runs, %d at the same time: median %.2f ms of notes per run (p95 %.2f), %.2f "
        "flushes per run, %.0f runs/s\n",
        runs, sessions, times[times.size() / 2], times[times.size() * 95 / 100],
        static_cast<double>(flushes - before) / runs, runs / seconds);
  }
  std::filesystem::remove_all(dir);
  return 0;
}
