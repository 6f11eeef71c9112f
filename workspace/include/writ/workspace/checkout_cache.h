// CheckoutCache: finished checkouts of base commits, which overlay workspaces use as their lower
// layer: shared by all runs on one base, never written again.
//
// One entry per bundle and commit, `<directory>/<name>/`: `tree/` (files, and a `.git` whose index
// fits them), `facts`, and, for those who use a checkout, `kept/`: what they make of it and look
// after themselves. It counts as the entry does and goes with it. Entries are keyed by the bundle
// like the object cache's, so no requester learns - not even by how long a run took - what another
// one has here. Files are ours (0644, 0755) with their own inodes, never hard links; a job sees
// them only through a mount that it cannot write below.
//
// An entry is made beside its place and renamed into it: whole or not there. `<name>.lock` is held
// shared by every use and exclusively while it is filled or removed; the kernel drops it with its
// holder. An entry that was last vouched for before an unclean stop (of a process that had the
// cache open, or of the host) is compared with its tree, byte by byte, before it is used again. So
// is one that a job with our own uid could reach since (CheckoutExposure). Bounded: after a fill
// the entries used longest ago go first, never one in use. Thread-safe; several processes may share
// a directory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/digest.h"

namespace writ::workspace {

struct CheckoutCacheLimits {
  std::uint64_t max_bytes = std::uint64_t{20} << 30;  // on disk; what is in use may go over it
  std::size_t max_entries = 64;
};

// All that the bytes of a checkout depend on.
struct CheckoutKey {
  protocol::Digest bundle{};
  std::string base_ref{};           // the commit's id, hex
  std::string objects_directory{};  // stands in the checkout's alternates
};

struct CheckoutFacts {
  std::uint64_t files = 0;                // links and submodules too, without .git
  std::uint64_t bytes = 0;                // their content
  std::uint64_t disk_bytes = 0;           // what the entry takes, in whole blocks
  std::vector<std::string> submodules{};  // paths, raw bytes
};

class CheckoutContent;  // fills and verifies one; private to this folder

// While it lives the checkout is neither removed nor changed.
class CheckoutLease {
 public:
  CheckoutLease(std::string tree, CheckoutFacts facts, UniqueFd lock)
      : tree_(std::move(tree)), facts_(std::move(facts)), lock_(std::move(lock)) {}
  const std::string& tree() const { return tree_; }  // absolute: the lower layer
  const CheckoutFacts& facts() const { return facts_; }

 private:
  std::string tree_;
  CheckoutFacts facts_;
  UniqueFd lock_;
};

// What a job with our own uid may do by path, whatever keeps it from reading and writing here:
// change the mode, the times and the attributes of what it can name, and it can work out the names
// (no mount namespace hides them, and a random one would be told by inotify). While one lives
// nothing of the cache is used without a look at all of it, and nothing from before is afterwards.
class CheckoutExposure {
 public:
  CheckoutExposure(CheckoutExposure&& other) noexcept
      : cache_(std::exchange(other.cache_, nullptr)) {}
  CheckoutExposure& operator=(CheckoutExposure&&) = delete;
  ~CheckoutExposure();
  void StayForGood() { cache_ = nullptr; }  // it could not be seen to end

 private:
  friend class CheckoutCache;
  explicit CheckoutExposure(class CheckoutCache* cache) : cache_(cache) {}
  CheckoutCache* cache_;  // borrowed
};

class CheckoutCache {
 public:
  // Makes the directory (0711) and removes what dead fills and removals left.
  static Result<std::unique_ptr<CheckoutCache>> Open(const std::string& directory,
                                                     const CheckoutCacheLimits& limits);
  ~CheckoutCache();  // an orderly end: what was vouched for stays so
  CheckoutCache(const CheckoutCache&) = delete;
  CheckoutCache& operator=(const CheckoutCache&) = delete;

  // Where the checkout of `key` is or will be, in this cache or in one of that directory. Pure.
  std::string TreePath(const CheckoutKey& key) const;
  std::string KeptPath(const CheckoutKey& key) const;
  static std::string TreePathIn(const std::string& directory, const CheckoutKey& key);
  static std::string KeptPathIn(const std::string& directory, const CheckoutKey& key);

  struct Found {
    std::shared_ptr<const CheckoutLease> lease{};
    bool was_cached = false;
  };
  // Blocks while another one fills it. Errors are those of the content, or "checkout.*".
  Result<Found> Get(const CheckoutKey& key, CheckoutContent& content);

  // From before such a job begins until its end was seen.
  [[nodiscard]] CheckoutExposure Expose();
  struct Exposures {
    std::uint64_t begun = 0;  // since the cache was opened
    unsigned now = 0;
  };
  Exposures Exposed() const;

  // Removes the entries used longest ago until the limits hold. Get does this after a fill.
  void Trim();

 private:
  friend class CheckoutExposure;
  void EndExposure();
  struct State;
  explicit CheckoutCache(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace writ::workspace
