#include "writ/backends/microvm/snapshot_build.h"

#include <fcntl.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "machine_folder.h"
#include "microvm_tier.h"
#include "writ/backends/image/oci_documents.h"
#include "writ/backends/job/launched_backend.h"
#include "writ/backends/job/private_dirs.h"
#include "writ/backends/microvm/guest_image.h"
#include "writ/backends/microvm/machine_order.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kMaxProgress = 64 * 1024;
constexpr std::chrono::milliseconds kLook{200};

// Tells what writ-vm writes down of what it does, for as long as it lives.
class ProgressTeller {
 public:
  ProgressTeller(int session_dir, const std::function<void(const std::string&)>& told) {
    if (!told) return;
    thread_ = std::jthread([session_dir, &told](std::stop_token stop) {
      const std::string name = std::string(kTmpName) + "/" + microvm::kProgressName;
      std::mutex mutex;
      std::condition_variable_any wake;
      std::unique_lock lock(mutex);
      std::size_t seen = 0;
      while (!stop.stop_requested()) {
        wake.wait_for(lock, stop, kLook, [] { return false; });
        auto file = OpenBeneath(session_dir, name, O_RDONLY | O_NONBLOCK);
        auto text = file ? ReadAll(file->get(), kMaxProgress) : std::move(file).error();
        if (!text) continue;
        for (auto end = text->find('\n', seen); end != std::string::npos;
             end = text->find('\n', seen)) {
          told(text->substr(seen, end - seen));
          seen = end + 1;
        }
      }
    });
  }

 private:
  std::jthread thread_;
};

// What the image says is to be started before the snapshot; empty: nothing. An image that is not
// there is told of where it is held.
std::string StartOf(const SnapshotBuild& build) {
  auto held = microvm::GuestStore(build.machines.images_dir)
                  .Hold(build.image.empty() ? build.machines.default_image : build.image);
  auto manifest = held ? microvm::ReadGuestManifest(held->root) : std::move(held).error();
  return manifest ? microvm::WarmUpOf(manifest->config) : std::string();
}

Result<microvm::SnapshotSource> OpenSource(const MachineFolder& folder, UniqueFd& held) {
  const std::string name = std::string("session/") + kTmpName + "/" + microvm::kSnapshotName;
  WRIT_ASSIGN(held, OpenBeneath(folder.fd(), name, O_RDONLY | O_DIRECTORY));
  WRIT_ASSIGN(std::string tokens, folder.ReadTokens());
  microvm::EventLoop loop;
  const microvm::SnapshotParts parts = microvm::MakeQemu(loop)->Parts();
  return microvm::SnapshotSource{held.get(), parts.state, parts.memory, Secret::Consume(tokens)};
}

}  // namespace

Result<microvm::SnapshotRecord> BuildSnapshot(SnapshotBuild build) {
  auto tell = [&build](const std::string& what) {
    if (build.told) build.told(what);
  };
  build.machines.launched.ahead = LaunchedOptions::Ahead::kNone;
  if (std::string start = StartOf(build); !start.empty()) build.warm_up.push_back(std::move(start));
  auto owned = std::make_unique<MicrovmTier>(build.machines,
                                             SnapshotMaking{build.warm_up, build.warm_up_bound});
  const MicrovmTier& tier = *owned;
  auto backend = MakeLaunchedBackend(std::move(owned), build.machines.launched);
  const Capabilities& can = backend->Probe();
  if (!can.usable)
    return Error{ErrorKind::kUnsupported, "microvm.snapshot_no_machine", can.unusable_reason,
                 can.unusable_mend};
  const HostFeatures features = tier.Probe();
  {
    WRIT_ASSIGN(const UniqueFd work_dir, OpenDirectory(build.work_dir));
    (void)microvm::SweepHalfMade(work_dir.get(), microvm::GarbageMode::kCollect);
  }
  WRIT_ASSIGN(const MachineFolder folder, MachineFolder::Make(build.work_dir, build.identity));
  Limits sized;
  sized.memory_bytes = build.memory_bytes;
  sized.cpu_millis = build.cpus * kMillisOfACpu;
  Plan plan = folder.PlanOf("snapshot-", build.image, build.identity, sized);
  WRIT_ASSIGN(const HeldRoot root, tier.Hold(plan));
  plan.image = root.digest;  // what the name means now
  microvm::SnapshotManifest manifest;
  WRIT_ASSIGN(manifest.fit, tier.FitOf(plan, features, root.digest));
  WRIT_ASSIGN(const image::HeldImage image,
              microvm::GuestStore(build.machines.images_dir).Hold(root.digest));
  WRIT_ASSIGN(const microvm::GuestManifest guest, microvm::ReadGuestManifest(image.root));
  manifest.kernel = guest.kernel;
  manifest.initramfs = guest.initramfs;
  manifest.root = guest.root;
  manifest.warm_up = build.warm_up;

  WRIT_ASSIGN(UniqueFd session, OpenBeneath(folder.fd(), "session", O_RDONLY | O_DIRECTORY));
  std::unique_ptr<Job> job;
  {
    const ProgressTeller progress(session.get(), build.told);
    WRIT_ASSIGN(job, backend->Prepare(std::move(plan)));
  }
  // The program that ran is the one that the manifest will name.
  WRIT_ASSIGN(const microvm::SnapshotFit after, MonitorReader().FitOf(features.machine));
  if (!(after.vmm == manifest.fit.vmm))
    return Error{ErrorKind::kConflict, "microvm.snapshot_monitor_changed",
                 "the monitor was replaced while the snapshot was made", "build it again"};
  UniqueFd held;
  WRIT_ASSIGN(const microvm::SnapshotSource source, OpenSource(folder, held));
  WRIT_ASSIGN(microvm::SnapshotRecord record, microvm::SnapshotStoreOf(build.machines.images_dir)
                                                  .Add(source, std::move(manifest), build.told));
  tell("taking the machine down");
  const Dismantled gone = job->Dismantle();
  if (!gone.leaks.empty() || !gone.tree_dead_verified)
    return Error{ErrorKind::kInternal, "microvm.snapshot_left",
                 "the snapshot " + record.text() +
                     " is made, and something of its machine is left: " +
                     (gone.leaks.empty() ? "a process"
                                         : gone.leaks.front().kind + " " + gone.leaks.front().what),
                 "`writ snapshot gc` removes what is left on the disk"};
  return record;
}

struct SnapshotJudge::Facts {
  image::ImageStore images;
  Result<microvm::SnapshotFit> fit;
};

SnapshotJudge::SnapshotJudge(const MicrovmBackendOptions& options) {
  const HostFeatures features = MicrovmTier(options).Probe();
  Result<microvm::SnapshotFit> fit =
      features.machine.usable ? MonitorReader().FitOf(features.machine)
                              : Result<microvm::SnapshotFit>(
                                    Error{ErrorKind::kUnsupported, "microvm.snapshot_no_machine",
                                          features.machine.reason, features.machine.mend});
  facts_ = std::make_unique<Facts>(Facts{microvm::GuestStore(options.images_dir), std::move(fit)});
}

SnapshotJudge::~SnapshotJudge() = default;

Status SnapshotJudge::Judge(const microvm::SnapshotRecord& record) const {
  if (!facts_->fit) return facts_->fit.error();
  const microvm::SnapshotFit& made = record.manifest.fit;
  if (auto image = facts_->images.Find("sha256:" + made.image.ToHex()); !image)
    return Error{
        ErrorKind::kUnsupported, "snapshot.image_gone",
        "the guest image of the snapshot is not here any more",
        "`writ image build` makes it again from the same parts, `writ snapshot gc` removes "
        "this one"};
  microvm::SnapshotFit wanted = *facts_->fit;
  SetMachine(made.image, SizeOf(made), wanted);
  return microvm::CheckFits(record.manifest, wanted);
}

}  // namespace writ::backends
