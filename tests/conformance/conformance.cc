#include "writ/conformance/conformance.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <thread>
#include <utility>

#include "conformance/job_fixture.h"
#include "writ/base/file.h"

namespace writ::conformance {
namespace {

// What is tested does not change once Run has begun, and googletest asks for it from outside of it.
Setup& Current() {
  static Setup setup;
  return setup;
}

class PassOn final : public backends::OutputSink {
  void OnOutput(backends::Stream, std::string_view bytes, std::chrono::nanoseconds) override {
    (void)WriteAll(1, bytes).has_value();
  }
  void OnLeftOut(backends::Stream, std::uint64_t) override {}
};

// Tells when a job has said something.
class FirstWord final : public backends::OutputSink {
 public:
  explicit FirstWord(std::promise<void>& said) : said_(said) {}
  void OnOutput(backends::Stream, std::string_view, std::chrono::nanoseconds) override {
    if (!std::exchange(told_, true)) said_.set_value();
  }
  void OnLeftOut(backends::Stream, std::uint64_t) override {}

 private:
  std::promise<void>& said_;
  bool told_ = false;
};

// A runner small enough to be killed: runs one job and passes its output on.
//   --one-job BACKEND WORKSPACE SESSION_DIR RUN_ID UID GID SCRIPT
//   --one-paused-job ...     pauses it at its first word, and says "paused"
int RunOneJob(char** argv, bool paused) {
  auto backend = FindTested(argv[0]).make();
  backends::Plan plan;
  plan.tier = backend->GetTier();
  plan.workspace = backends::PlainWorkspace{argv[1]};
  plan.session_dir = argv[2];
  plan.run_id = argv[3];
  plan.identity.uid = static_cast<uid_t>(std::strtoul(argv[4], nullptr, 10));
  plan.identity.gid = static_cast<gid_t>(std::strtoul(argv[5], nullptr, 10));
  plan.argv = {"/bin/sh", "-c", argv[6]};
  auto job = backend->Prepare(std::move(plan));
  if (!job) return 1;
  std::printf("leftovers %s\n", (*job)->Leftovers().c_str());
  std::fflush(stdout);
  if (!(*job)->Start({})) return 1;
  if (paused) {
    std::promise<void> said;
    FirstWord sink(said);
    std::jthread pausing([&] {
      said.get_future().wait();
      const Status done = (*job)->Pause();
      std::puts(done ? "paused" : done.error().message.c_str());
      std::fflush(stdout);
    });
    (*job)->Watch(sink, {});
    return 0;
  }
  PassOn sink;
  (*job)->Watch(sink, {});
  return 0;
}

std::vector<std::string> NamesOf(Workspaces least) {
  std::vector<std::string> out;
  for (const TestedBackend& tested : Current().backends)
    if (least == Workspaces::kPlain || tested.workspaces == Workspaces::kOverlaysToo)
      out.push_back(tested.name);
  return out;
}

}  // namespace

const TestedBackend& FindTested(const std::string& name) {
  for (const TestedBackend& tested : Current().backends)
    if (tested.name == name) return tested;
  std::fprintf(stderr, "no backend is tested under the name %s\n", name.c_str());
  std::abort();
}

std::vector<std::string> TestedNames() {
  return NamesOf(Workspaces::kPlain);
}

std::vector<std::string> OverlayNames() {
  return NamesOf(Workspaces::kOverlaysToo);
}

int Run(int argc, char** argv, Setup setup) {
  if (!setup.programs.empty()) test::SetProgramsDir(setup.programs);
  Current() = std::move(setup);
  if (argc == 9 && std::strcmp(argv[1], "--one-job") == 0) return RunOneJob(argv + 2, false);
  if (argc == 9 && std::strcmp(argv[1], "--one-paused-job") == 0) return RunOneJob(argv + 2, true);
  testing::InitGoogleTest(&argc, argv);
  if (Current().backends.empty() || testing::UnitTest::GetInstance()->total_test_count() == 0) {
    std::fprintf(stderr,
                 "nothing to test: name a backend, and link the whole archive of "
                 "writ::conformance\n");
    return 2;
  }
  return RUN_ALL_TESTS();
}

}  // namespace writ::conformance
