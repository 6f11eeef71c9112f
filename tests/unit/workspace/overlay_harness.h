// Overlay mounts for tests, made as a backend makes them: in a mount namespace of this process,
// with the lower layer shown to the job's uid by an idmapped bind mount.
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

// Empty where this process may mount overlays for another uid; else why not.
std::string WhyNoOverlay();

inline constexpr uid_t kJobUid = 48'111;

// A mounted workspace; unmounted when this goes.
class OverlayMount {
 public:
  OverlayMount(const std::string& lower, const std::string& upper, const std::string& work,
               const std::string& at, const std::string& more_options = "");
  ~OverlayMount();
  OverlayMount(const OverlayMount&) = delete;
  OverlayMount& operator=(const OverlayMount&) = delete;
  const std::string& error() const { return error_; }

 private:
  std::string at_, idmapped_, error_;
};

// While it lives this thread's files are the job's, and so are its permissions.
class AsJob {
 public:
  AsJob();
  ~AsJob();
  AsJob(const AsJob&) = delete;
  AsJob& operator=(const AsJob&) = delete;
};

// One run's place with an overlay: caches, upper, work, and the mount point `view`.
struct OverlayPlace {
  OverlayPlace(const std::string& root, const std::string& caches, CheckoutCacheLimits limits = {});
  Result<Materialized> Materialize(const protocol::Manifest& manifest, const BlobFolder& blobs);
  void Mount(const Materialized& materialized);
  Result<Collected> Collect(const Materialized& materialized, CollectOptions options = {});
  std::string root, view;
  UniqueFd upper_fd, trusted_fd;
  std::unique_ptr<ObjectCache> objects;
  std::unique_ptr<CheckoutCache> checkouts;
  std::optional<JobOwner> owner = JobOwner{kJobUid, kJobUid};
  std::unique_ptr<OverlayMount> mount;
};

// What a job sees: like Snapshot, with folders.
std::map<std::string, std::string> SnapshotWithFolders(const std::string& tree);

// Runs `work` in a child process; true where it returned true.
bool InChild(const std::function<bool()>& work);

}  // namespace writ::workspace::test
