#include "conformance/job_fixture.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "writ/base/paths.h"

namespace writ::test {
namespace fs = std::filesystem;
namespace {

constexpr uid_t kHelperUid = 999'999;  // below all of theirs
constexpr uid_t kFirstUid = 1'000'000;
constexpr uid_t kUidsPerProcess = 64;
constexpr uid_t kProcesses = 60'000;

backends::Identity NextIdentity() {
  static std::atomic<uid_t> next{0};
  backends::Identity identity;
  if (::geteuid() != 0) {
    identity.uid = ::geteuid();
    identity.gid = ::getegid();
    return identity;
  }
  identity.uid = kFirstUid + (static_cast<uid_t>(::getpid()) % kProcesses) * kUidsPerProcess +
                 next++ % kUidsPerProcess;
  identity.gid = identity.uid;
  return identity;
}

void GiveTo(const std::string& path, backends::Identity identity) {
  if (::geteuid() == 0 && ::lchown(path.c_str(), identity.uid, identity.gid) != 0) std::abort();
}

// As root, whose jobs have a uid of their own. Who has no memory any more runs nothing: a zombie,
// or one that has left its cgroup on the way to be one.
std::vector<std::string> ProcessesOf(uid_t job) {
  std::vector<std::string> left;
  if (::geteuid() != 0) return left;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream status(entry.path() / "status");
    bool of_job = false;
    bool has_memory = false;
    for (std::string line; std::getline(status, line);) {
      uid_t uid = 0;
      if (line.rfind("Uid:", 0) == 0 && std::istringstream(line.substr(4)) >> uid)
        of_job = uid == job;
      has_memory = has_memory || line.rfind("VmSize:", 0) == 0;
    }
    if (of_job && has_memory) left.push_back("process " + entry.path().filename().string());
  }
  return left;
}

}  // namespace

namespace {

std::string& Programs() {
  static std::string dir = fs::read_symlink("/proc/self/exe").parent_path();
  return dir;
}

}  // namespace

const std::string& ProgramsDir() {
  return Programs();
}

void SetProgramsDir(const std::string& dir) {
  Programs() = dir;
}

void Collector::OnOutput(backends::Stream stream, std::string_view bytes,
                         std::chrono::nanoseconds) {
  (stream == backends::Stream::kStdout ? run_.out : run_.err).append(bytes);
  run_.chunks.push_back({stream, std::string(bytes)});
}

void Collector::OnLeftOut(backends::Stream stream, std::uint64_t bytes) {
  if (stream != backends::Stream::kStdout) return;
  run_.gap_out += bytes;
  run_.gap_at_out = run_.out.size();
}

JobFixture::JobFixture() : identity_(NextIdentity()) {
  std::string pattern = "/var/tmp/writ-test-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  base_ = pattern;
  workspace_ = base_ + "/workspace";
  session_ = base_ + "/session";
  run_id_ = "run_" + base_.substr(base_.rfind('-') + 1) + "_" + std::to_string(::getpid());
  ::chmod(base_.c_str(), 0711);
  fs::create_directory(workspace_);
  fs::create_directory(session_);
  ::chmod(session_.c_str(), 0711);
  GiveTo(workspace_, identity_);
}

JobFixture::~JobFixture() {
  auto parent = OpenDirectory("/var/tmp");
  if (parent)
    (void)RemoveTreeBeneath(parent->get(), base_.substr(base_.rfind('/') + 1)).has_value();
}

backends::Plan JobFixture::MakePlan(std::vector<std::string> argv) const {
  backends::Plan plan;
  plan.tier = tier_;
  plan.run_id = run_id_;
  plan.argv = std::move(argv);
  plan.workspace = backends::PlainWorkspace{workspace_};
  plan.session_dir = session_;
  plan.identity = identity_;
  if (::geteuid() == 0) plan.helper_uid = kHelperUid;
  plan.limits.wall_timeout = std::chrono::seconds(60);
  plan.limits.term_grace = std::chrono::milliseconds(300);
  return plan;
}

JobRun JobFixture::Run(backends::Backend& backend, backends::Plan plan,
                       const backends::WatchOptions& options) const {
  JobRun run;
  auto job = backend.Prepare(std::move(plan));
  if (!job) {
    run.started = job.error();
    return run;
  }
  run.started = (*job)->Start({});
  Collector collector(run);
  run.outcome = (*job)->Watch(collector, options);
  run.dismantled = (*job)->Dismantle();
  return run;
}

std::string JobFixture::Install(const std::string& program) const {
  std::string to = workspace_ + "/" + program;
  fs::copy_file(ProgramsDir() + "/" + program, to, fs::copy_options::overwrite_existing);
  ::chmod(to.c_str(), 0755);
  return "./" + program;
}

void JobFixture::WriteWorkspaceFile(const std::string& name, const std::string& bytes) const {
  std::string path = workspace_ + "/" + name;
  std::ofstream(path, std::ios::binary) << bytes;
  ::chmod(path.c_str(), 0755);
  GiveTo(path, identity_);
}

std::string JobFixture::ReadWorkspaceFile(const std::string& name) const {
  std::ifstream in(workspace_ + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::vector<std::string> JobFixture::LeftBehind() const {
  std::vector<std::string> left = ProcessesOf(identity_.uid);
  for (const char* root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids",
                           "/sys/fs/cgroup/memory"}) {
    std::error_code ignored;
    if (fs::exists(std::string(root) + "/writ-" + run_id_, ignored))
      left.push_back(std::string("cgroup in ") + root);
  }
  for (const auto& entry : fs::directory_iterator(session_)) {
    if (entry.path().filename() != "launch.status") left.push_back(entry.path().string());
  }
  return left;
}

}  // namespace writ::test
