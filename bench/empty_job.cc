// An empty job in each tier beside what it stands on, in one run and in turns: a bare spawn,
// bubblewrap with everything unshared, the OCI runtimes with a bundle of their own.
//
//   bench_empty_job [ROUNDS, default 200] [NAME...]     NAME: only those whose name begins so
//   bench_empty_job 30 microvm                          a machine for each job: only where named
//
// Every round runs each of them once, in an order of its own, so that what the kernel still cleans
// up after one falls on all alike. A tier's time goes from Prepare to the verified end.
// Milliseconds.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/places.h"
#include "writ/backends/container/container_backend.h"
#include "writ/backends/image/image_store.h"
#include "writ/backends/microvm/guest_image.h"
#include "writ/backends/microvm/microvm_backend.h"
#include "writ/backends/process_backend.h"
#include "writ/backends/sandbox_backend.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace {

namespace fs = std::filesystem;
using namespace writ;  // NOLINT: a program of its own
using std::chrono::steady_clock;

constexpr uid_t kUid = 1999999;
constexpr int kWarmUp = 5;

double Since(steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(steady_clock::now() - start).count();
}

double At(std::vector<double> values, std::size_t percent) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() * percent / 100];
}

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "bench_empty_job: %s\n", why.c_str());
  std::exit(1);
}

// Folders that go with the program.
struct Place {
  Place() {
    std::string pattern = "/var/tmp/writ-bench-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) Die("cannot make a folder in /var/tmp");
    base = pattern;
    ::chmod(base.c_str(), 0711);
    for (const char* name : {"/workspace", "/session", "/rootfs", "/bundle"})
      fs::create_directory(base + name);
    if (::geteuid() == 0 && ::chown((base + "/workspace").c_str(), kUid, kUid) != 0)
      Die("cannot give the workspace away");
  }
  ~Place() {
    if (auto parent = OpenDirectory("/var/tmp"))
      (void)RemoveTreeBeneath(parent->get(), base.substr(base.rfind('/') + 1)).has_value();
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  std::string base;
};

// One job, from nothing to nothing; what it took. No value: it did not end well.
using Once = std::function<std::optional<double>()>;

struct Candidate {
  std::string name;
  Once once;
  std::vector<double> times{};
  struct Stages {
    std::vector<double> prepare, start, watch, dismantle;
  };
  std::shared_ptr<Stages> stages{};  // of a tier
};

class Discard final : public backends::OutputSink {
 public:
  void OnOutput(backends::Stream, std::string_view, std::chrono::nanoseconds) override {}
  void OnLeftOut(backends::Stream, std::uint64_t) override {}
};

Candidate InTier(const Place& place, std::string name, std::unique_ptr<backends::Backend> backend) {
  std::shared_ptr<backends::Backend> shared = std::move(backend);
  const backends::Capabilities& can = shared->Probe();
  if (!can.usable) std::printf("%s is left out: %s\n", name.c_str(), can.unusable_reason.c_str());
  Candidate out{std::move(name), nullptr};
  if (!can.usable) return out;
  out.stages = std::make_shared<Candidate::Stages>();
  out.once = [&place, shared, stages = out.stages]() -> std::optional<double> {
    backends::Plan plan;
    plan.tier = shared->GetTier();
    plan.run_id = "bench_" + std::to_string(::getpid());
    plan.argv = {"/bin/true"};
    plan.workspace = backends::PlainWorkspace{place.base + "/workspace"};
    plan.session_dir = place.base + "/session";
    plan.identity.uid = ::geteuid() == 0 ? kUid : ::geteuid();
    plan.identity.gid = ::geteuid() == 0 ? kUid : ::getegid();
    plan.network = backends::ProxiedNetwork{};
    const auto start = steady_clock::now();
    auto from = start;
    auto lap = [&from](std::vector<double>& times) {
      times.push_back(Since(from));
      from = steady_clock::now();
    };
    auto job = shared->Prepare(std::move(plan));
    if (!job) Die(job.error().ToString());
    lap(stages->prepare);
    if (auto started = (*job)->Start({}); !started) Die(started.error().ToString());
    lap(stages->start);
    Discard sink;
    const backends::Outcome outcome = (*job)->Watch(sink, {});
    lap(stages->watch);
    const backends::Dismantled end = (*job)->Dismantle();
    lap(stages->dismantle);
    const double took = Since(start);
    if (!end.tree_dead_verified || !end.leaks.empty() || !outcome.status ||
        outcome.status->ShellCode() != 0)
      return std::nullopt;
    return took;
  };
  return out;
}

std::optional<double> RunProgram(const SpawnOptions& options) {
  const auto start = steady_clock::now();
  auto child = Child::Spawn(options);
  if (!child) return std::nullopt;
  auto status = child->Wait(std::nullopt);
  const double took = Since(start);
  if (!status || !*status || (*status)->ShellCode() != 0) return std::nullopt;
  return took;
}

Candidate Program(std::string name, std::vector<std::string> argv, std::string cwd = "/") {
  SpawnOptions options;
  options.path = argv.front();
  options.argv = std::move(argv);
  options.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  options.cwd = std::move(cwd);
  Candidate out{std::move(name), nullptr};
  if (::access(options.path.c_str(), X_OK) == 0 && RunProgram(options))
    out.once = [options] { return RunProgram(options); };
  else
    std::printf("%s is left out: %s is not there or does not run here\n", out.name.c_str(),
                options.path.c_str());
  return out;
}

std::vector<std::string> BubblewrapCommand() {
  return {"/usr/bin/bwrap", "--unshare-all", "--ro-bind", "/usr",    "/usr",  "--symlink",
          "usr/bin",        "/bin",          "--symlink", "usr/lib", "/lib",  "--symlink",
          "usr/lib64",      "/lib64",        "--proc",    "/proc",   "--dev", "/dev",
          "--tmpfs",        "/tmp",          "/bin/true"};
}

// The namespaces that a container of ours has, and the program of its image.
constexpr char kBundle[] = R"({"ociVersion": "1.0.2",
 "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"],
   "env": ["PATH=/bin"], "cwd": "/", "noNewPrivileges": true},
 "root": {"path": "ROOT", "readonly": true}, "hostname": "bench",
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
   {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}],
 "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
   {"type": "mount"}]}})";

void MakeRoot(const Place& place) {
  const std::string root = place.base + "/rootfs";
  for (const char* name : {"/bin", "/proc", "/dev", "/etc"}) fs::create_directory(root + name);
  std::error_code error;
  if (!fs::copy_file("/bin/busybox", root + "/bin/busybox", error))
    std::printf("no images: there is no /bin/busybox (package busybox-static)\n");
  fs::create_symlink("busybox", root + "/bin/true", error);
  std::string config = kBundle;
  config.replace(config.find("ROOT"), 4, root);
  auto dir = OpenDirectory(place.base + "/bundle");
  if (!dir || !WriteFileAtomic(dir->get(), "config.json", config, 0644))
    Die("cannot write a bundle");
}

// crun refuses a host with both generations of cgroups; here it sees none. A mount namespace for
// this one thread.
void HideCgroups() {
  if (::unshare(CLONE_FS | CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("none", "/sys/fs/cgroup", "tmpfs", MS_RDONLY, nullptr) != 0)
    Die("cannot hide the cgroups from crun");
}

// Does what it is told on a thread of its own, which lives on.
class Aside {
 public:
  explicit Aside(const std::function<void()>& first) : thread_([this, first] { Loop(first); }) {}
  std::optional<double> Do(const Once& what) {
    what_ = &what;
    turn_.store(1);
    turn_.notify_all();
    turn_.wait(1);
    return answer_;
  }
  ~Aside() {
    turn_.store(2);
    turn_.notify_all();
  }

 private:
  void Loop(const std::function<void()>& first) {
    first();
    for (;;) {
      turn_.wait(0);
      if (turn_.load() == 2) return;
      answer_ = (*what_)();
      turn_.store(0);
      turn_.notify_all();
    }
  }
  std::atomic<int> turn_{0};  // 0: ours to wait, 1: to do, 2: to leave
  const Once* what_ = nullptr;
  std::optional<double> answer_;
  std::jthread thread_;
};

Candidate Elsewhere(Candidate candidate, const std::shared_ptr<Aside>& aside) {
  if (candidate.once)
    candidate.once = [aside, once = std::move(candidate.once)] { return aside->Do(once); };
  return candidate;
}

// From the root that MakeRoot made.
Candidate Machine(const Place& place, const backends::LaunchedOptions& launched) {
  backends::microvm::GuestBuild build;
  build.root = place.base + "/rootfs";
  build.agent = test::BinDir() + "/writ-guest-agent";
  build.launcher = test::BinDir() + "/writ-launch";
  build.version = "bench";
  build.name = "default";
  auto made = backends::microvm::BuildGuestImage(backends::microvm::GuestStore(place.base), build);
  if (!made) {
    std::printf("microvm is left out: %s\n", made.error().ToString().c_str());
    return Candidate{"microvm", nullptr};
  }
  backends::MicrovmBackendOptions options;
  options.launched = launched;
  options.machine_program = test::BinDir() + "/writ-vm";
  options.images_dir = place.base;
  auto backend = backends::MakeMicrovmBackend(std::move(options));
  std::printf("%s\n", backend->Probe().version.c_str());
  return InTier(place, "microvm", std::move(backend));
}

std::vector<Candidate> All(const Place& place, const std::vector<std::string>& names) {
  const backends::LaunchedOptions launched{.launcher = test::BinDir() + "/writ-launch"};
  std::vector<Candidate> all;
  all.push_back(Program("fork+exec", {"/bin/true"}));
  all.push_back(InTier(place, "process", backends::MakeProcessBackend(launched)));
  all.push_back(Program("bwrap", BubblewrapCommand()));
  all.push_back(InTier(place, "sandbox", backends::MakeSandboxBackend({.launched = launched})));
  // As the first job of a runner, and that of `writ run`: no launcher waits for it.
  backends::LaunchedOptions alone = launched;
  alone.ahead = backends::LaunchedOptions::Ahead::kNone;
  all.push_back(InTier(place, "sandbox-alone", backends::MakeSandboxBackend({.launched = alone})));
  MakeRoot(place);
  const backends::image::ImageStore store(place.base + "/images");
  auto image = store.Import(place.base + "/rootfs", {.name = "empty", .tag = "", .limits = {}});
  if (!image) Die(image.error().ToString());
  const std::string bundle = place.base + "/bundle";
  const std::string state = place.base + "/state";
  for (const std::string runtime : {"crun", "runc"}) {
    backends::ContainerBackendOptions options;
    options.launched = launched;
    options.runtime = runtime;
    options.images_dir = store.dir();
    options.default_image = "empty";
    all.push_back(
        InTier(place, "container-" + runtime, backends::MakeContainerBackend(std::move(options))));
  }
  if (std::find(names.begin(), names.end(), "microvm") != names.end())
    all.push_back(Machine(place, launched));
  if (::geteuid() != 0) return all;  // they would need user namespaces, and we another bundle
  auto aside = std::make_shared<Aside>(HideCgroups);
  Candidate crun{"run-crun", nullptr};
  aside->Do([&]() -> std::optional<double> {
    crun = Program("run-crun", {"/usr/bin/crun", "--root", state, "--cgroup-manager=disabled",
                                "run", "--bundle", bundle, "bench"});
    return {};
  });
  all.push_back(Elsewhere(std::move(crun), aside));
  all.push_back(
      Program("run-runc", {"/usr/sbin/runc", "--root", state, "run", "--bundle", bundle, "bench"}));
  return all;
}

void Print(const Candidate& c) {
  std::printf("%-15s %8.2f %8.2f", c.name.c_str(), At(c.times, 50), At(c.times, 99));
  if (c.stages)
    std::printf("   %8.2f %8.2f %8.2f %8.2f", At(c.stages->prepare, 50), At(c.stages->start, 50),
                At(c.stages->watch, 50), At(c.stages->dismantle, 50));
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 200;
  const Place place;
  const std::vector<std::string> names(argv + std::min(argc, 2), argv + argc);
  std::vector<Candidate> all = All(place, names);
  std::erase_if(all, [&](const Candidate& c) {
    if (c.once == nullptr) return true;
    return argc > 2 && std::none_of(argv + 2, argv + argc,
                                    [&c](const char* name) { return c.name.starts_with(name); });
  });
  std::mt19937 random(7);
  std::vector<std::size_t> order(all.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (int round = -kWarmUp; round < rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    if (round == 0)
      for (Candidate& c : all)
        if (c.stages) *c.stages = {};
    for (std::size_t i : order) {
      const std::optional<double> took = all[i].once();
      if (!took) Die(all[i].name + " did not end well");
      if (round >= 0) all[i].times.push_back(*took);
    }
  }
  std::printf("an empty job, %d rounds in turns, ms\n%-15s %8s %8s   %8s %8s %8s %8s\n", rounds, "",
              "p50", "p99", "prepare", "start", "watch", "dismantle");
  for (const Candidate& c : all) Print(c);
}
