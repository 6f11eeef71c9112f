#include "machine_fit.h"

#include <cerrno>

#include "writ/backends/microvm/machine_order.h"
#include "writ/backends/microvm/qemu_command.h"

namespace writ::backends {

using microvm::Acceleration;
using microvm::SnapshotFit;
using microvm::VmmKind;

Result<SnapshotFit> MonitorReader::FitOf(const MachineFeatures& machine) {
  WRIT_ASSIGN(const VmmKind kind, microvm::ParseVmmName(machine.monitor));
  if (kind != VmmKind::kQemu)
    return Error{ErrorKind::kUnsupported, "microvm.snapshot_monitor",
                 "runs are started from snapshots under qemu alone, not under " + machine.monitor,
                 "microvm.vmm: qemu"};
  WRIT_ASSIGN(const microvm::VmmVersion version, microvm::ParseVmmVersion(machine.version));
  SnapshotFit fit;
  fit.architecture = microvm::HostArchitecture();
  fit.acceleration = machine.kvm ? Acceleration::kKvm : Acceleration::kTcg;
  struct stat now {};
  if (::stat(machine.path.c_str(), &now) != 0)
    return SysError(errno, "microvm.monitor", "cannot look at " + machine.path);
  std::lock_guard lock(mutex_);
  const bool same = identity_ && identity_->version == version && seen_.st_dev == now.st_dev &&
                    seen_.st_ino == now.st_ino && seen_.st_size == now.st_size &&
                    seen_.st_ctim.tv_sec == now.st_ctim.tv_sec &&
                    seen_.st_ctim.tv_nsec == now.st_ctim.tv_nsec;
  if (!same) {
    identity_.reset();
    WRIT_ASSIGN(identity_, microvm::ReadVmmIdentity(kind, version, machine.path));
    seen_ = now;
  }
  fit.vmm = *identity_;
  return fit;
}

void SetMachine(const protocol::Digest& image, const MachineSize& size, SnapshotFit& fit) {
  fit.image = image;
  fit.memory_bytes = size.memory_bytes;
  fit.cpus = size.cpus;
  microvm::MachineSpec spec;
  spec.version = fit.vmm.version;
  spec.acceleration = fit.acceleration;
  spec.memory_bytes = size.memory_bytes;
  spec.cpus = size.cpus;
  spec.base = microvm::kBasePlace;  // every machine of the tier has that drive
  fit.layout = microvm::QemuLayout(spec);
}

}  // namespace writ::backends
