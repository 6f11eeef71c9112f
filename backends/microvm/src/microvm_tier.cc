#include "microvm_tier.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <memory>
#include <utility>
#include <variant>

#include "machine_pool.h"
#include "machine_view.h"
#include "writ/backends/image/oci_documents.h"
#include "writ/backends/job/launched_backend.h"
#include "writ/backends/job/private_dirs.h"
#include "writ/backends/microvm/erofs.h"
#include "writ/backends/microvm/guest_image.h"
#include "writ/backends/microvm/machine_order.h"
#include "writ/backends/microvm/pages/words.h"
#include "writ/backends/sandbox/view_planning.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"

namespace writ::backends {
namespace {

using microvm::VmmKind;
using microvm::VmmName;

constexpr std::chrono::seconds kProbeBound{20};
constexpr std::uint64_t kProbeText = 64 * 1024;
constexpr std::chrono::minutes kBootBound{3};   // emulated, beside others, on a busy host
constexpr std::chrono::seconds kHoldBound{60};  // of a restore ahead: nobody waits for it
constexpr std::chrono::minutes kLeaveBound{10};
constexpr std::chrono::seconds kGraceMore{10};           // the guest holds the job's own grace
constexpr std::uint64_t kMonitorMemory = 1280ull << 20;  // translated code, page tables, itself
constexpr std::uint64_t kMonitorTasks = 256;
constexpr std::uint64_t kChangeBytes = 16ull << 30;
constexpr std::uint64_t kChangeEntries = 2'000'000;
constexpr char kBuild[] = "make one with `writ image build`";

// What it says in answer to `arguments`; why it says nothing.
Result<std::string> Ask(const std::string& program, std::vector<std::string> arguments) {
  WRIT_ASSIGN(Pipe pipe, MakePipe());
  SpawnOptions spawn;
  spawn.path = program;
  spawn.argv = {program};
  spawn.argv.insert(spawn.argv.end(), arguments.begin(), arguments.end());
  spawn.fds = {{pipe.write_end.get(), 1}};
  WRIT_ASSIGN(Child child, Child::Spawn(spawn));
  pipe.write_end.reset();
  WRIT_ASSIGN(auto status, child.Wait(kProbeBound));
  if (!status || status->ShellCode() != 0)
    return Error{ErrorKind::kUnavailable, "microvm.probe", program + " did not answer"};
  return ReadAll(pipe.read_end.get(), kProbeText);
}

std::string ProgramOf(VmmKind kind) {
  return kind == VmmKind::kQemu ? "qemu-system-x86_64" : std::string(VmmName(kind));
}

// A device that only a group may open is closed to a uid of the job's own.
bool OpenToJobs(const char* device, bool root) {
  struct stat st {};
  return !root || (::stat(device, &st) == 0 && (st.st_mode & 06) == 06);
}

// Looks for an image first: whoever has none pays for no more.
MachineFeatures ProbeMachine(const MicrovmBackendOptions& options, const image::ImageStore& store,
                             bool root) {
  MachineFeatures found;
  found.monitor = options.vmm.empty() ? VmmName(VmmKind::kQemu) : options.vmm;
  auto kind = microvm::ParseVmmName(found.monitor);
  if (!kind) {
    found.reason = kind.error().message + ": " + found.monitor;
    found.mend = "microvm.vmm: " + kind.error().hint;
    return found;
  }
  found.path = options.vmm_program.empty() ? "/usr/bin/" + ProgramOf(*kind) : options.vmm_program;
  if (auto images = store.List(); !images || images->empty()) {
    found.reason = "this runner has no guest image";
    found.mend = kBuild;
    return found;
  }
  if (::access(found.path.c_str(), X_OK) != 0) {
    found.reason = "there is no " + found.path;
    found.mend = *kind == VmmKind::kQemu ? "apt-get install qemu-system-x86 erofs-utils"
                                         : "microvm.program: where " + found.monitor + " is";
    return found;
  }
  auto said = Ask(found.path, {"--version"});
  auto version = said ? microvm::JudgeVmmVersion(*kind, *said) : std::move(said).error();
  if (!version) {
    found.reason = version.error().message;
    found.mend = version.error().hint.empty() ? "another version of it" : version.error().hint;
    return found;
  }
  found.version = version->text();
  auto kvm = Ask(options.machine_program, {"--probe-kvm"});
  if (!kvm) {
    found.reason = "writ-vm cannot be used: " + kvm.error().message;
    found.mend = "install writ-vm beside writ-launch";
    return found;
  }
  const std::string no = "kvm=no ";
  found.kvm = *kvm == "kvm=yes\n";
  if (kvm->starts_with(no))
    found.no_kvm_reason = kvm->substr(no.size(), kvm->size() - no.size() - 1);
  if (found.kvm && !OpenToJobs("/dev/kvm", root)) {
    found.kvm = false;
    found.no_kvm_reason = "/dev/kvm is not open to the uids of jobs (mode 0666)";
  }
  if (!found.kvm && *kind != VmmKind::kQemu) {
    found.reason = found.monitor + " emulates nothing, and there is no KVM: " + found.no_kvm_reason;
    found.mend = "microvm.vmm: qemu";
    return found;
  }
  found.usable = true;
  return found;
}

std::uint64_t HostTscKhz() {
  constexpr std::uint64_t kFileLimit = 1u << 20;
  auto text = ReadFile("/proc/cpuinfo", kFileLimit);
  const auto at = text ? text->find("cpu MHz") : std::string::npos;
  if (at == std::string::npos) return 0;
  const auto colon = text->find(':', at);
  double megahertz = 0;
  const char* start = text->data() + colon + 2;
  if (colon != std::string::npos) std::from_chars(start, text->data() + text->size(), megahertz);
  return static_cast<std::uint64_t>(megahertz * 1000);
}

// Read-only.
launch::ViewStep Part(const std::string& path, const char* place) {
  return launch::MakeStep(launch::ViewStep::Kind::kBind, place + 1, path);
}

bool ShowsBase(const std::vector<launch::ViewStep>& view) {
  return std::any_of(view.begin(), view.end(), [](const launch::ViewStep& step) {
    return step.target == microvm::kBasePlace + 1;
  });
}

std::vector<std::string> Without(std::vector<std::string> trees,
                                 const std::vector<std::string>& these) {
  std::erase_if(trees, [&these](const std::string& tree) {
    return std::find(these.begin(), these.end(), tree) != these.end();
  });
  return trees;
}

}  // namespace

MicrovmTier::MicrovmTier(MicrovmBackendOptions options, std::optional<SnapshotMaking> making)
    : options_(std::move(options)),
      making_(std::move(making)),
      store_(microvm::GuestStore(options_.images_dir)),
      snapshots_(microvm::SnapshotStoreOf(options_.images_dir)),
      pages_(std::make_shared<PageSupply>(options_.pages)),
      sandbox_({.launched = options_.launched}) {
  if (options_.pool.count > 0 && !making_) pool_ = std::make_unique<MachinePool>(options_, pages_);
}

MicrovmTier::MicrovmTier(MicrovmBackendOptions options, std::shared_ptr<PageSupply> pages)
    : options_(std::move(options)),
      holding_(true),
      store_(microvm::GuestStore(options_.images_dir)),
      snapshots_(microvm::SnapshotStoreOf(options_.images_dir)),
      pages_(std::move(pages)),
      sandbox_({.launched = options_.launched}) {}

MicrovmTier::~MicrovmTier() = default;

std::optional<WaitingMachines> MicrovmTier::Waiting() const {
  return pool_ ? std::optional(pool_->Counts()) : std::nullopt;
}

void MicrovmTier::ForgetWaiting() const {
  if (pool_) pool_->Forget();
}

HostFeatures MicrovmTier::Probe() const {
  HostFeatures features = sandbox_.Probe();
  features.machine = ProbeMachine(options_, store_, features.root);
  if (pool_)
    if (const Capabilities can = Describe(features); can.usable) pool_->Use(features, can);
  return features;
}

Capabilities MicrovmTier::Describe(const HostFeatures& f) const {
  Capabilities c = sandbox_.Describe(f);
  c.tier = Tier::kMicrovm;
  c.backend = std::string(Name());
  const std::string speed = f.machine.kvm ? "kvm" : "tcg";
  if (!f.machine.version.empty())
    c.version += ", " + f.machine.monitor + " " + f.machine.version + ", " + speed;
  if (c.usable && !f.machine.usable) {
    c.usable = false;
    c.unusable_reason = "no machine can be made: " + f.machine.reason;
    c.unusable_mend = f.machine.mend;
    for (AspectCapability* aspect : {&c.files, &c.network, &c.processes}) {
      *aspect = {};
      aspect->reason = c.unusable_reason;
    }
  }
  if (!c.usable) return c;
  const std::string machine = "virtual machine (" + f.machine.monitor + ", " + speed + ")";
  c.files.mechanism = machine + ", in a " + c.files.mechanism;
  c.network.mechanism = machine + " without a network card";
  c.network.reason.clear();
  c.processes.mechanism = machine;
  c.syscalls = {Enforcement::kKernel, machine + ", seccomp in the guest", "", ""};
  c.resources = {Enforcement::kKernel, "size of the machine, cgroup v2 in the guest", "", ""};
  c.limits = DescribeLimits(HoldersOf(EveryLimit(), f));
  c.pty = true;  // the guest's
  c.pause = true;
  c.notes = {
      "HOME, temporary files and what the job changes lie in the machine's memory",
      "a job that is ended without its grace leaves no changes: they were in the machine",
      "CPU time is the machine's, its boot included",
  };
  if (options_.jobs == MicrovmBackendOptions::Jobs::kSteps) {
    c.syscalls.mechanism = machine;
    c.resources.mechanism = "size of the machine";
    c.notes.push_back("a step of a recipe is root of its guest: the machine holds it, no seccomp");
  }
  if (!f.machine.kvm)
    c.notes.push_back("without KVM (" + f.machine.no_kvm_reason +
                      ") the machine is emulated: several times slower");
  return c;
}

Result<image::ImageRecord> MicrovmTier::FindImage(const Plan& plan) const {
  const std::string& wanted = plan.image.empty() ? options_.default_image : plan.image;
  auto record = store_.Find(wanted);
  if (record) return record;
  if (record.error().kind == ErrorKind::kNotFound)
    return Unsupported(Tier::kMicrovm, "image_unknown", "this runner has no guest image " + wanted,
                       "name one of `writ image ls`, or make one with `writ image build`");
  return std::move(record).error();
}

Status MicrovmTier::CheckPlan(const Plan& plan, const HostFeatures& features) const {
  WRIT_TRY(sandbox_.CheckPlan(plan, features));
  auto image = FindImage(plan);
  return image ? Status() : Status(std::move(image).error());
}

Limits JobLimitsOf(const MachineSize& size) {
  Limits out;
  out.memory_bytes = size.memory_bytes - std::min(size.memory_bytes, kGuestMemoryBytes);
  out.cpu_millis = size.cpus * kMillisOfACpu;
  return out;
}

// A processor for each whole or begun one that the job may use at once, and no more than the host
// has: the others would only take turns.
MachineSize MicrovmTier::SizeFor(const Plan& plan) const {
  constexpr std::uint64_t kStep = 16ull << 20;
  const std::uint64_t job =
      plan.limits.memory_bytes == 0 ? options_.job_memory_bytes : plan.limits.memory_bytes;
  const std::uint64_t cpus = (plan.limits.cpu_millis + kMillisOfACpu - 1) / kMillisOfACpu;
  const auto most = static_cast<std::uint64_t>(std::max(::sysconf(_SC_NPROCESSORS_ONLN), 1L));
  return {(job + kGuestMemoryBytes + kStep - 1) / kStep * kStep,
          static_cast<unsigned>(std::clamp<std::uint64_t>(cpus, 1, most))};
}

// The job's own are held in the guest; these bound the machine, whatever the guest does.
Limits MicrovmTier::OutsideLimits(const Plan& plan) const {
  Limits outside;
  outside.wall_timeout = plan.limits.wall_timeout;
  outside.term_grace = plan.limits.term_grace;
  outside.output = plan.limits.output;
  outside.processes = kMonitorTasks;
  outside.memory_bytes = SizeFor(plan).memory_bytes + kMonitorMemory;
  return outside;
}

std::vector<HeldLimit> MicrovmTier::HoldersOf(const Limits& limits, const HostFeatures&) const {
  std::vector<HeldLimit> out;
  for (const PlannedLimit& limit : PlannedLimits(limits)) {
    HeldLimit held{limit, LimitHolder::kSupervisor, ""};
    switch (limit.kind) {
      case LimitKind::kWall:
      case LimitKind::kOutput:
        break;
      case LimitKind::kMemory:
        if (options_.jobs == MicrovmBackendOptions::Jobs::kSteps)
          held.note = "the machine has little more";
        else
          held = {limit, LimitHolder::kCgroupV2, "in the guest; the machine has little more"};
        break;
      case LimitKind::kProcesses:
      case LimitKind::kCpuShare:
        held = {limit, LimitHolder::kCgroupV2, "in the guest"};
        break;
      case LimitKind::kOpenFiles:
        held = {limit, LimitHolder::kRlimit,
                "in the guest, per process; refused call by call, which is the job's to tell"};
        break;
      case LimitKind::kIo:
        held = {limit, LimitHolder::kNone,
                "a machine's job writes to memory alone, and reads its image from the host"};
        break;
      case LimitKind::kCpu:
      case LimitKind::kDisk:
      case LimitKind::kDiskFiles:
        held.note = "in the guest";
        break;
    }
    const bool of_machine = limit.kind == LimitKind::kWall || limit.kind == LimitKind::kOutput ||
                            limit.kind == LimitKind::kMemory;
    if (options_.jobs == MicrovmBackendOptions::Jobs::kSteps && !of_machine)
      held = {limit, LimitHolder::kNone, "a step of a recipe is held by its machine alone"};
    out.push_back(std::move(held));
  }
  return out;
}

std::chrono::milliseconds MicrovmTier::StartBound() const {
  return BootBound() + std::chrono::seconds(10);
}

Result<HeldRoot> MicrovmTier::Hold(const Plan& plan) const {
  WRIT_ASSIGN(image::ImageRecord record, FindImage(plan));
  HeldRoot out;
  out.digest = image::ImageDigestText(record.id);
  WRIT_ASSIGN(image::HeldImage held, store_.Hold(out.digest));
  // A folder that is no guest image is refused here, before anything boots.
  WRIT_ASSIGN(const microvm::GuestManifest manifest, microvm::ReadGuestManifest(held.root));
  if (manifest.for_steps != (options_.jobs == MicrovmBackendOptions::Jobs::kSteps))
    return Unsupported(Tier::kMicrovm, "image_purpose",
                       "this guest image is not for what is to run in it",
                       "`writ image build` makes images for runs, and those of its steps itself");
  WRIT_TRY(microvm::CheckErofs(held.root + "/" + microvm::kRootName));
  out.lock = std::move(held.lock);
  const std::string parts = held.root + "/";
  out.view = {Part(parts + microvm::kKernelName, microvm::kKernelPlace),
              Part(parts + microvm::kInitramfsName, microvm::kInitramfsPlace),
              Part(parts + microvm::kRootName, microvm::kRootPlace)};
  return out;
}

std::chrono::milliseconds MicrovmTier::BootBound() const {
  if (holding_) return kHoldBound;
  return kBootBound + (making_ ? making_->warm_up_bound : std::chrono::milliseconds(0));
}

Result<microvm::SnapshotFit> MicrovmTier::FitOf(const Plan& plan, const HostFeatures& features,
                                                const std::string& image) const {
  WRIT_ASSIGN(microvm::SnapshotFit fit, monitor_.FitOf(features.machine));
  WRIT_ASSIGN(const protocol::Digest digest,
              protocol::Digest::Parse(std::string_view(image).substr(image.find(':') + 1)));
  SetMachine(digest, SizeFor(plan), fit);
  return fit;
}

Status MicrovmTier::UseSnapshot(const Plan& plan, const HostFeatures& features, int session_dir,
                                HeldRoot& root) const {
  auto listed = snapshots_.List();
  if (!listed) return std::move(listed).error();
  if (listed->good.empty() && listed->refused.empty()) return {};
  WRIT_ASSIGN(const microvm::SnapshotFit fit, FitOf(plan, features, root.digest));
  auto meant = [&fit](const microvm::SnapshotManifest& manifest) {
    return manifest.fit.image == fit.image && SizeOf(manifest.fit) == SizeOf(fit);
  };
  WRIT_ASSIGN(UniqueFd made, OpenBeneath(session_dir, kTmpName, O_RDONLY | O_DIRECTORY));
  Status why;
  for (const microvm::SnapshotRecord& record : listed->good) {
    if (!meant(record.manifest)) continue;
    Status used = microvm::CheckFits(record.manifest, fit);
    if (used && pool_) {
      if (auto claimed = pool_->Claim(record.text())) {
        root.snapshot = record.text();
        root.machine = std::move(claimed->machine);
        root.supplies = std::move(claimed->supplies);
        root.supplies_back = std::move(claimed->supplies_back);
        root.served = claimed->served;
        root.no_pages = claimed->not_served;
        return {};
      }
    }
    if (used) used = PutSnapshot(record, made.get(), plan, root);
    if (used) {
      root.snapshot = record.text();
      return {};
    }
    if (why) why = std::move(used);
  }
  if (!why) return why;
  for (const microvm::RefusedSnapshot& one : listed->refused)
    if (!one.manifest || meant(*one.manifest)) return one.why;
  return {};
}

// Its memory by a page server, or else a copy of the run's own: the monitor of a guest never opens
// the snapshot.
Status MicrovmTier::PutSnapshot(const microvm::SnapshotRecord& record, int made, const Plan& plan,
                                HeldRoot& root) const {
  const Identity& identity = plan.identity;
  WRIT_ASSIGN(microvm::HeldSnapshot held, snapshots_.Hold(record.id));
  auto supply = [&]() -> Result<UniqueFd> {
    WRIT_ASSIGN(const PageSupplies supplies,
                pages_->Supply(snapshots_, held, identity.uid, plan.helper_uid));
    WRIT_ASSIGN(SocketPair way, MakeSeqpacketPair());
    WRIT_TRY(SendWithFds(way.first.get(), microvm::kSuppliesWord,
                         {supplies.control.get(), supplies.device.get()}));
    WRIT_TRY(CopySnapshot(held, made, identity, microvm::MemoryCopy::kNone));
    root.supplies_back = std::move(way.first);
    return std::move(way.second);
  };
  auto supplies = supply();
  if (supplies) {
    root.supplies = std::move(supplies).value();
    root.served = true;
    root.no_pages.clear();
    root.snapshot_lock = std::move(held.lock);
    return {};
  }
  root.no_pages = supplies.error().message + " [" + supplies.error().code + "]";
  log::Info("microvm.not_served",
            "a run's machine gets a copy of all of its snapshot's memory, as no page server can "
            "be used",
            {{"why", supplies.error().ToString()}});
  return CopySnapshot(held, made, identity, microvm::MemoryCopy::kWhole);
}

Status MicrovmTier::CopySnapshot(const microvm::HeldSnapshot& held, int made,
                                 const Identity& identity, microvm::MemoryCopy memory) const {
  if (::mkdirat(made, microvm::kSnapshotName, 0700) != 0)
    return SysError(errno, "microvm.snapshot_copy", "cannot make a folder for the snapshot");
  auto copy = [&]() -> Status {
    WRIT_ASSIGN(UniqueFd folder, OpenBeneath(made, microvm::kSnapshotName, O_RDONLY | O_DIRECTORY));
    if (::geteuid() == 0 && ::fchown(folder.get(), identity.uid, identity.gid) != 0)
      return SysError(errno, "microvm.snapshot_copy", "cannot give the machine its folder");
    return snapshots_.CopyOut(held, folder.get(), identity.uid, identity.gid, memory);
  };
  Status copied = copy();
  if (!copied) (void)RemoveTreeBeneath(made, microvm::kSnapshotName).has_value();
  return copied;
}

// A run is never refused for it: without, its whole workspace is packed.
void MicrovmTier::UseBase(const Plan& plan, HeldRoot& root) const {
  const auto* mount = std::get_if<WorkspaceMount>(&plan.workspace);
  if (mount == nullptr || mount->kept.empty()) return;
  auto image = bases_.Get(*mount);
  if (!image) {
    log::Warn("microvm.no_base_image", "a run's whole workspace is packed, as its base cannot be",
              {{"why", image.error().ToString()}});
    return;
  }
  log::Debug("microvm.base_image", image->made ? "a base was packed" : "a base was there",
             {{"run", plan.run_id}, {"image", image->path}, {"files", image->counts.entries}});
  root.view.push_back(Part(image->path, microvm::kBasePlace));
}

// A run is never refused for a snapshot: its image's kernel boots instead, and its receipt says
// why.
Status MicrovmTier::Furnish(const Plan& plan, const HostFeatures& features, int session_dir,
                            HeldRoot& root) const {
  UseBase(plan, root);
  if (making_ || options_.jobs == MicrovmBackendOptions::Jobs::kSteps ||
      options_.snapshots == MicrovmBackendOptions::Snapshots::kIgnored)
    return {};
  Status used = UseSnapshot(plan, features, session_dir, root);
  if (holding_ && used && root.snapshot.empty())
    return Error{ErrorKind::kUnavailable, "microvm.no_snapshot", "no snapshot fits any more"};
  if (holding_) return used;
  if (!used) {
    root.no_snapshot = used.error().message + " [" + used.error().code + "]";
    log::Warn("microvm.not_restored", "a run's machine is booted, as no snapshot can be used",
              {{"why", used.error().ToString()}});
  }
  return {};
}

// From a process in the machine's jail: numbers for people.
void MicrovmTier::OnEnd(const Plan& plan, HeldRoot& root) const {
  if (!root.supplies_back || log::CurrentLevel() > log::Level::kDebug) return;
  (void)::fcntl(root.supplies_back.get(), F_SETFL, O_NONBLOCK);
  auto said = ReceiveWithFds(root.supplies_back.get(), microvm::pages::kMaxWordBytes);
  auto word = said ? microvm::pages::DecodeClonesWord(said->bytes)
                   : Result<microvm::pages::ClonesWord>(std::move(said).error());
  const auto* told = word ? std::get_if<microvm::pages::Counters>(&*word) : nullptr;
  if (told == nullptr) return;
  const microvm::pages::FaultCounters& c = told->counters;
  log::Debug("microvm.pages", "what the page server has given to a machine",
             {{"run", plan.run_id},
              {"faults", c.faults},
              {"file_bytes", c.bytes_file},
              {"zero_bytes", c.bytes_zero},
              {"prefetched_bytes", c.bytes_prefetched},
              {"prefetched_used_bytes", microvm::pages::PrefetchHits(c) * 4096},
              {"compared_leaves_of_all_machines", c.hashed_leaves}});
}

launch::LaunchPlan MicrovmTier::PlanLaunch(const Plan& plan, const HostFeatures& features,
                                           const LaunchFacts& facts) const {
  launch::LaunchPlan out = sandbox_.PlanLaunch(plan, features, facts);
  microvm::MachineOrder order;
  // Both were judged when they were probed.
  if (auto kind = microvm::ParseVmmName(features.machine.monitor)) order.kind = *kind;
  if (auto version = microvm::ParseVmmVersion(features.machine.version)) order.version = *version;
  order.vmm = features.machine.path;
  order.acceleration =
      features.machine.kvm ? microvm::Acceleration::kKvm : microvm::Acceleration::kTcg;
  const MachineSize size = SizeFor(plan);
  order.memory_bytes = size.memory_bytes;
  order.cpus = size.cpus;
  order.tsc_khz = HostTscKhz();
  order.boot_ms = static_cast<std::uint64_t>(BootBound().count());
  if (making_) {
    order.purpose = microvm::MachinePurpose::kSnapshot;
    order.warm_up = making_->warm_up;
  }
  if (holding_) order.purpose = microvm::MachinePurpose::kHeld;
  if (!facts.snapshot.empty())
    order.start = facts.machine_held   ? microvm::MachineFrom::kHeld
                  : facts.pages_served ? microvm::MachineFrom::kServed
                                       : microvm::MachineFrom::kCopy;
  order.not_restored = facts.no_snapshot;
  order.change_bytes = plan.limits.disk_bytes == 0 ? kChangeBytes : plan.limits.disk_bytes;
  order.change_entries = plan.limits.disk_files == 0 ? kChangeEntries : plan.limits.disk_files;
  order.job.run_id = plan.run_id;
  order.job.argv = plan.argv;
  order.job.cwd = plan.cwd;
  order.job.user_name = plan.identity.user_name;
  order.job.home_files = plan.home_files;
  order.job.home_directories = plan.home_directories;
  order.job.read_only_trees = plan.read_only_trees;
  const auto* mount = std::get_if<WorkspaceMount>(&plan.workspace);
  if (mount != nullptr && ShowsBase(facts.root_view)) {
    order.job.on_base = true;
    order.job.base_trees = mount->kept_trees;
    order.job.read_only_trees = Without(plan.read_only_trees, mount->kept_trees);
  }
  order.job.checkpoint = plan.checkpoint;
  order.job.limits = plan.limits;
  order.job.syscalls = plan.syscalls;
  order.job.proxied = out.proxy.has_value();
  order.job.entries = plan.entries.has_value();
  order.job.terminal = plan.terminal;
  order.job.merged = plan.stderr_to == StderrTo::kStdout;

  MachineView view;
  view.system = features.system_view;
  view.image = facts.root_view;
  view.job = PlanView(plan, PathsOf(plan), {}, Programs::kOfAnImage,
                      features.root ? launch::LowerOwner::kRoot : launch::LowerOwner::kJob);
  view.program = options_.machine_program;
  view.order = microvm::Encode(order);
  view.made = plan.session_dir + "/" + kTmpName;
  view.read_only_trees = order.job.read_only_trees;
  if (order.job.on_base) view.upper = mount->upper;
  view.kvm = features.machine.kvm;
  if (facts.pages_served) view.preload = options_.pages.preload;
  out.namespaces->view = PlanMachineView(view);
  out.namespaces->counted.clear();
  out.namespaces->runtime = {kMachineProgramPlace};
  out.namespaces->ready_bound_ms = order.boot_ms;
  out.namespaces->leave_bound_ms =
      static_cast<std::uint64_t>(std::chrono::milliseconds(kLeaveBound).count());
  out.term_grace_ms += static_cast<std::uint64_t>(std::chrono::milliseconds(kGraceMore).count());
  out.supervise_connect = false;  // the guest's kernel tells of them
  // The job's own list is held in the guest; the monitor's is the same whatever the job has.
  out.allow_list = features.default_list;
  out.filter.clear();
  out.argv = {kMachineProgramPlace};
  return out;
}

std::unique_ptr<Backend> MakeMicrovmBackend(MicrovmBackendOptions options) {
  const LaunchedOptions launched = options.launched;
  return MakeLaunchedBackend(std::make_unique<MicrovmTier>(std::move(options)), launched);
}

}  // namespace writ::backends
