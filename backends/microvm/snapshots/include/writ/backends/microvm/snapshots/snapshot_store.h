// SnapshotStore: snapshots of machines, each in a folder that is named by what it is.
//
//   DIR/key.pem        signs the manifests (snapshot_key.h)
//   DIR/sha256-HEX/    manifest.json, memory, memory.leaves, the monitor's state files, tokens;
//                      lock (held while it is used), damaged (why it is not offered any more),
//                      working-set/ (the page server's: a hint, trusted with nothing)
//   DIR/.new-*, .old-* one being made, one being removed; swept when nobody holds their lock
//
// A snapshot gets its name by one rename, after every byte of it and its folder have reached the
// disk: a process that is killed, or a power cut, leaves a whole snapshot or none (L30). Folders
// and files are closed to all but their owner (0700, 0600): a clone gets a copy of its own or its
// pages from the page server, never the file. Before any use: signature, name, that every part is
// there, is a private regular file and has its size, that nothing else is there, digests of state
// and tokens, the leaf table's root. The memory itself is compared leaf by leaf while it is read
// (CopyOut, or the page server): one whose memory was found damaged is marked, and refused from
// then on, until Verify finds it whole. Refusals beside those of snapshot_manifest.h and
// snapshot_key.h, all kIntegrity with what mends them: "snapshot.manifest",
// "snapshot.part_missing", "snapshot.part_open" (others can open it), "snapshot.part_foreign",
// "snapshot.part_damaged", "snapshot.damaged" (marked before).
//
// Safe for several processes at once; every method may be called from any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "writ/backends/microvm/pages/working_set.h"
#include "writ/backends/microvm/snapshots/snapshot_manifest.h"
#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

inline constexpr char kSnapshotMemory[] = "memory";
inline constexpr char kSnapshotTokens[] = "tokens";
inline constexpr char kSnapshotWorkingSet[] = "working-set";
inline constexpr std::uint64_t kMaxTokensBytes = 1024;

// What a monitor left behind. The files may be another user's who is gone: they are read once, and
// what was read is what is stored.
struct SnapshotSource {
  int directory = -1;  // borrowed
  std::vector<std::string> state;
  std::string memory;
  Secret tokens;  // as a clone's owner takes them back
};

struct SnapshotRecord {
  protocol::Digest id;
  SnapshotManifest manifest;
  std::uint64_t disk_bytes = 0;  // that its files take
  std::string text() const { return "sha256:" + id.ToHex(); }
};
struct RefusedSnapshot {
  std::string folder;
  Error why;
  std::optional<SnapshotManifest> manifest{};  // where it is signed by our key
};
struct SnapshotList {
  std::vector<SnapshotRecord> good;  // the newest first
  std::vector<RefusedSnapshot> refused;
};

// Keeps the snapshot from being removed as long as it lives.
struct HeldSnapshot {
  SnapshotRecord record;
  UniqueFd folder;
  UniqueFd lock;
};

// What a page server is given of a snapshot.
struct ServedFiles {
  UniqueFd memory;
  UniqueFd leaf_table;
  UniqueFd working_set;  // a folder of the server's own
};
enum class MemoryCopy {
  kWhole,
  kNone,  // a page server gives it
};

enum class GarbageMode { kCollect, kDryRun };
struct SnapshotGarbage {
  struct Removed {
    std::string what;  // "sha256:HEX", or the name of what was half made
    std::string why;
  };
  std::vector<Removed> removed;
  std::vector<std::string> in_use;  // would have been
};

class SnapshotStore {
 public:
  // `dir`: absolute; made where it is missing and something is put into it.
  explicit SnapshotStore(std::string dir) : dir_(std::move(dir)) {}
  const std::string& dir() const { return dir_; }

  // Fills in the digests, sizes and the time of `manifest`, stores and signs it. `told`: what it is
  // doing, for people; may be empty.
  Result<SnapshotRecord> Add(const SnapshotSource& source, SnapshotManifest manifest,
                             const std::function<void(const std::string&)>& told) const;
  Result<SnapshotList> List() const;
  // `reference`: "sha256:HEX" or HEX, or at least 12 digits of it. kNotFound "snapshot.unknown",
  // kInvalid "snapshot.ambiguous"; one that is refused is told with its reason.
  Result<SnapshotRecord> Find(const std::string& reference) const;
  // Everything but the memory's content is compared.
  Result<HeldSnapshot> Hold(const protocol::Digest& id) const;
  // The memory, state and tokens, for one machine alone: files of `uid`, 0600, in `directory`,
  // written while they are compared. kIntegrity leaves nothing of it there.
  Status CopyOut(const HeldSnapshot& held, int directory, uid_t uid, gid_t gid,
                 MemoryCopy memory) const;
  // For a page server with this uid. The memory is not compared: that is the server's.
  Result<ServedFiles> OpenServed(const HeldSnapshot& held, uid_t uid, gid_t gid) const;
  // What the page server has recorded of the first restores; nothing where there is none that can
  // be read.
  std::optional<pages::WorkingSet> ReadWorkingSet(const SnapshotRecord& record) const;
  // Everything, the memory too. A mark of earlier is taken away where all is well.
  Result<SnapshotRecord> Verify(const std::string& reference) const;
  // Refused ones can be removed too. kConflict "snapshot.in_use".
  Result<std::string> Remove(const std::string& reference) const;
  // What is half made, what is refused, and what `unwanted` gives a reason for.
  Result<SnapshotGarbage> CollectGarbage(
      GarbageMode mode, const std::function<std::string(const SnapshotRecord&)>& unwanted) const;

 private:
  std::string dir_;
};

// Of the runner's or plane's directory.
SnapshotStore SnapshotStoreOf(const std::string& dir);

// A folder of `parent` that is being filled: locked by its descriptor, so that a sweep leaves it
// alone as long as its owner lives.
struct HalfMade {
  std::string name;
  UniqueFd folder;
};
Result<HalfMade> MakeHalfMade(int parent, mode_t mode);
// Names of what is half made and nobody's any more; removed unless it is a dry run.
std::vector<std::string> SweepHalfMade(int parent, GarbageMode mode);

}  // namespace writ::backends::microvm
