#include "page_supply.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "writ/backends/microvm/pages/uffd_probe.h"

namespace writ::backends {

namespace pages = microvm::pages;
using microvm::HeldSnapshot;
using microvm::SnapshotStore;

namespace {

Error No(std::string code, std::string message, std::string mend) {
  return Error{ErrorKind::kUnsupported, std::move(code), std::move(message), std::move(mend)};
}

bool HasEnded(int pidfd) {
  pollfd fd{pidfd, POLLIN, 0};
  return ::poll(&fd, 1, 0) != 0;
}

// A jail's own system call would make one for faults of user mode alone.
Result<UniqueFd> DeviceForPages(const PageOptions& options) {
  if (options.program.empty())
    return No("pages.off", "this runner has no page server", "install writ-pages beside it");
  if (::access(options.preload.c_str(), R_OK) != 0)
    return No("pages.preload", "libwrit-uffd.so is not there",
              "install " + options.preload + " again");
  UniqueFd device(::open(options.device.c_str(), O_RDWR | O_CLOEXEC));
  if (!device)
    return No("pages.userfaultfd",
              options.device + " cannot be opened: " + std::generic_category().message(errno),
              "let the runner's user open it (a udev rule with a group), or start the runner as "
              "root; kernels before 6.1 have none");
  WRIT_ASSIGN(const pages::UserfaultProbe probe, pages::ProbeUserfault(device.get()));
  if (!probe.removals)
    return No("pages.userfaultfd", "the kernel does not tell a page server of removed memory",
              "use a kernel of 5.10 or later");
  return device;
}

}  // namespace

Status MachinePagesCanBeServed(const PageOptions& options) {
  WRIT_ASSIGN(const UniqueFd device, DeviceForPages(options));
  return {};
}

Status PageSupply::Start(std::optional<uid_t> uid) {
  if (service_ && !HasEnded(service_->pidfd())) return {};
  service_.reset();
  opened_.clear();
  pages::PageServiceOptions options;
  options.program = options_.program;
  if (uid) options.identity = pages::ServerIdentity{*uid, *uid};
  WRIT_ASSIGN(pages::PageService started, pages::PageService::Start(options));
  service_ = std::move(started);
  uid_ = uid;
  return {};
}

void PageSupply::LetGoOfRemoved() {
  for (auto at = opened_.begin(); at != opened_.end();) {
    struct stat st {};
    if (::fstat(at->second.memory.get(), &st) == 0 && st.st_nlink > 0) {
      ++at;
      continue;
    }
    (void)service_->Close(at->second.number).has_value();
    at = opened_.erase(at);
  }
}

Result<std::uint64_t> PageSupply::NumberOf(const SnapshotStore& store, const HeldSnapshot& held) {
  if (auto known = opened_.find(held.record.id); known != opened_.end())
    return known->second.number;
  const uid_t owner = uid_.value_or(::geteuid());
  WRIT_ASSIGN(microvm::ServedFiles files, store.OpenServed(held, owner, owner));
  const std::uint64_t number = ++last_;
  pages::SnapshotFiles given;
  given.directory = files.working_set.get();
  given.leaf_table = files.leaf_table.get();
  given.base = files.memory.get();
  const microvm::SnapshotManifest& manifest = held.record.manifest;
  WRIT_TRY(service_->Open(number, manifest.fit.memory_bytes, manifest.memory_root, given));
  opened_[held.record.id] = {number, std::move(files.memory)};
  return number;
}

Result<PageSupplies> PageSupply::Supply(const SnapshotStore& store, const HeldSnapshot& held,
                                        uid_t vmm_uid, std::optional<uid_t> server_uid) {
  PageSupplies out;
  WRIT_ASSIGN(out.device, DeviceForPages(options_));
  if (::geteuid() == 0 && !server_uid)
    return No("pages.identity", "there is no uid that the page server could have",
              "give the runner a uidRange");
  std::lock_guard lock(mutex_);
  auto add = [&]() -> Result<UniqueFd> {
    WRIT_TRY(Start(server_uid));
    LetGoOfRemoved();
    WRIT_ASSIGN(const std::uint64_t number, NumberOf(store, held));
    return service_->AddClone(number, vmm_uid);
  };
  auto control = add();
  if (control) {
    out.control = std::move(control).value();
    return out;
  }
  if (control.error().kind == ErrorKind::kIntegrity) {
    // Opened anew where somebody has put it right.
    if (auto known = opened_.find(held.record.id); known != opened_.end()) {
      (void)service_->Close(known->second.number).has_value();
      opened_.erase(known);
    }
  } else if (control.error().code == "pages.lost") {
    service_.reset();
    opened_.clear();
  }
  return std::move(control).error();
}

}  // namespace writ::backends
