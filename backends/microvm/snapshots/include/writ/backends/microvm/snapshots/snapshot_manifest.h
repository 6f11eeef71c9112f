// SnapshotManifest: what a snapshot is - everything that a machine restored from it depends on.
//
// Canonical JSON. Its id is the SHA-256 of those bytes without `signature`; the signature is over
// the id, by the snapshot key of the directory that the snapshot lies in (snapshot_key.h). What it
// names is compared before anything is used (snapshot_store.h); what it cannot name - which
// instructions the guest has run before - is in the root of its memory.
//   architecture     of the host
//   image, kernel, initramfs, root   digests; the image is the guest image they are from
//   memory           bytes, root over leaves of leafBytes (pages/memory_digest.h)
//   state            device state: the monitor's files, each with its size and digest
//   tokens           digest of the two tokens that the guest is greeted with
//   vmm              name, version, digest of the program; rule: "exact"
//   cpu              vendor, family, model, stepping, digest of the feature flags
//   machine          acceleration, cpus, layout: digest of the devices as the monitor is told them
//   warmUp           commands that were run in the guest before
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/microvm/vmm.h"
#include "writ/backends/microvm/vmm_version.h"
#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"

namespace writ::backends::microvm {

// The only rule there is: version and program are the ones that made the snapshot. A monitor says
// of no two of its builds that they take each other's device state.
inline constexpr std::string_view kExactVmm = "exact";

// What a machine must be like to be started from a snapshot; the same of the machine that became
// one.
struct SnapshotFit {
  std::string architecture;  // as uname says it
  protocol::Digest image;    // guest image
  std::uint64_t memory_bytes = 0;
  unsigned cpus = 1;
  Acceleration acceleration = Acceleration::kTcg;
  VmmIdentity vmm;
  protocol::Digest layout;
};

struct SnapshotPart {
  std::string name;
  std::uint64_t bytes = 0;
  protocol::Digest digest;
  bool operator==(const SnapshotPart&) const = default;
};

struct SnapshotManifest {
  WallTime created_at;
  SnapshotFit fit;
  protocol::Digest kernel;
  protocol::Digest initramfs;
  protocol::Digest root;
  protocol::Digest memory_root;
  std::vector<SnapshotPart> state;
  protocol::Digest tokens;
  std::vector<std::string> warm_up;

  json::Value ToJson() const;  // without the signature
  protocol::Digest Id() const;
};

// Of the value without its signature. kInvalid with the JSON pointers of what is wrong; unknown
// members, rules and versions of the format are.
Result<SnapshotManifest> ReadSnapshotManifest(const json::Value& value);

// kUnsupported, with what differs and what mends it: "snapshot.architecture", "snapshot.cpu",
// "snapshot.vmm", "snapshot.machine", "snapshot.image". Pure.
Status CheckFits(const SnapshotManifest& manifest, const SnapshotFit& wanted);

// Of this host ("x86_64").
std::string HostArchitecture();

}  // namespace writ::backends::microvm
