// Overlay mounts for tests, made as a backend makes them.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness.h"
#include "writ/base/unique_fd.h"
#include "writ/workspace/checkout_cache.h"

namespace writ::workspace::test {

inline constexpr uid_t kJobUid = 48'111;

// Who mounts the overlay, and so where the kernel keeps its marks.
enum class Mounter {
  // Root in a mount namespace of this process, the lower layer idmapped to the job's uid:
  // trusted.overlay.*.
  kRoot,
  // As the tiers do it with a root runner: likewise, and in a user namespace of the job's uid, with
  // userxattr: user.overlay.*.
  kRootInUserNamespace,
  // As the tiers do it with an ordinary user's: this process, as the job itself in a user namespace
  // of one id, which it enters for good: user.overlay.*.
  kOrdinaryUser,
};

// Empty where this process may mount overlays in that way; else why not.
std::string WhyNoOverlay(Mounter mounter = Mounter::kRoot);

// A mounted workspace; unmounted when this goes (an ordinary user's goes with its process).
class OverlayMount {
 public:
  OverlayMount(const std::string& lower, const std::string& upper, const std::string& work,
               const std::string& at, Mounter mounter = Mounter::kRoot);
  ~OverlayMount();
  OverlayMount(const OverlayMount&) = delete;
  OverlayMount& operator=(const OverlayMount&) = delete;
  const std::string& error() const { return error_; }

 private:
  std::string at_, idmapped_, error_;
};

// From here on this process is an ordinary user, the job's, and no longer root.
bool BecomeJob();

// While it lives this thread's files are the job's, and so are its permissions. An ordinary user is
// the job already.
class AsJob {
 public:
  AsJob();
  ~AsJob();
  AsJob(const AsJob&) = delete;
  AsJob& operator=(const AsJob&) = delete;

 private:
  bool root_;
};

// One run's place with an overlay: caches, upper, work, and the mount point `view`.
struct OverlayPlace {
  OverlayPlace(const std::string& root, const std::string& caches, CheckoutCacheLimits limits = {},
               Mounter mounter = Mounter::kRoot);
  Result<Materialized> Materialize(const protocol::Manifest& manifest, const BlobFolder& blobs);
  void Mount(const Materialized& materialized);
  Result<Collected> Collect(const Materialized& materialized, CollectOptions options = {});
  std::string root, view;
  Mounter mounter;
  UniqueFd upper_fd, trusted_fd;
  std::unique_ptr<ObjectCache> objects;
  std::unique_ptr<CheckoutCache> checkouts;
  std::optional<JobOwner> owner;  // none: the one that this process is
  std::unique_ptr<OverlayMount> mount;
};

// What a job sees: like Snapshot, with folders.
std::map<std::string, std::string> SnapshotWithFolders(const std::string& tree);

// Runs `work` in a child process; true where it returned true.
bool InChild(const std::function<bool()>& work);

}  // namespace writ::workspace::test
