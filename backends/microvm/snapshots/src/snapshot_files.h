// The files of a snapshot: written once, with their digests; read back with a suspicious eye.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "writ/backends/microvm/pages/memory_digest.h"
#include "writ/backends/microvm/snapshots/snapshot_manifest.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

// "snapshot.part_..." with what mends it.
Error PartError(const char* code, std::string message);

// Copies a monitor's file `name` of `from` to `to`, durably, as it was read. Bounded by `most`.
Result<SnapshotPart> StorePart(int from, const std::string& name, int to, std::uint64_t most);
// The same of a guest's memory: pages of zeros become holes. Writes the leaf table beside it.
Result<pages::LeafTable> StoreMemory(int from, const std::string& name, int to,
                                     std::uint64_t bytes);

// A part that is there, a regular file of ours, closed to others, of this size.
Result<UniqueFd> OpenPart(int folder, const std::string& name, std::uint64_t bytes);
// And what the manifest says that it is.
Result<std::string> ReadPart(int folder, const SnapshotPart& part);
// The leaf table that gives the manifest's root: the file, and what it says.
Result<UniqueFd> OpenLeaves(int folder, const SnapshotManifest& manifest);
Result<pages::LeafTable> ReadLeaves(int folder, const SnapshotManifest& manifest);
// Compares all of the memory. `to`: a descriptor that gets it; -1: none.
Status CompareMemory(int folder, const SnapshotManifest& manifest, pages::LeafTable table, int to);

}  // namespace writ::backends::microvm
