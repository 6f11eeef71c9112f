// A runner small enough to be killed: runs one job and passes its output on.
//   conformance_runner BACKEND WORKSPACE SESSION_DIR RUN_ID UID GID SCRIPT
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "conformance/job_fixture.h"
#include "writ/base/file.h"

namespace {

class PassOn final : public writ::backends::OutputSink {
  void OnOutput(writ::backends::Stream, std::string_view bytes, std::chrono::nanoseconds) override {
    (void)writ::WriteAll(1, bytes).has_value();
  }
  void OnLeftOut(writ::backends::Stream, std::uint64_t) override {}
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) return 2;
  auto backend = writ::test::MakeBackend(argv[1]);
  writ::backends::Plan plan;
  plan.tier = backend->GetTier();
  plan.workspace = writ::backends::PlainWorkspace{argv[2]};
  plan.session_dir = argv[3];
  plan.run_id = argv[4];
  plan.identity.uid = static_cast<uid_t>(std::strtoul(argv[5], nullptr, 10));
  plan.identity.gid = static_cast<gid_t>(std::strtoul(argv[6], nullptr, 10));
  plan.argv = {"/bin/sh", "-c", argv[7]};
  auto job = backend->Prepare(std::move(plan));
  if (!job || !(*job)->Start({})) return 1;
  PassOn sink;
  (*job)->Watch(sink, {});
  return 0;
}
