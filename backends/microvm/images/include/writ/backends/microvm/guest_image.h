// GuestImage: what a machine boots from - kernel, initramfs with our agent, root file system - and
// how it is made.
//
// A guest image is a directory image of an ImageStore of its own, so names, digests, locks and
// removal are that store's. In its root: kernel (ELF), initramfs, root.erofs, guest.json; of one
// that a recipe made its provenance too (provenance.h). The same inputs give the same digests: no
// time, owner or order of any disk is in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "writ/backends/image/image_store.h"
#include "writ/backends/microvm/recipe.h"
#include "writ/base/result.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"

namespace writ::backends::microvm {

inline constexpr char kKernelName[] = "kernel";
inline constexpr char kInitramfsName[] = "initramfs";
inline constexpr char kRootName[] = "root.erofs";

inline constexpr char kProvenanceName[] = "provenance.json";

// An agent that was put into the root (agent_parts.h).
struct GuestAgentPart {
  std::string kind;
  std::string version;  // empty: not known
  bool operator==(const GuestAgentPart&) const = default;
};

// A guest whose job is a step of a recipe: root of the guest, which changes the root file system
// (guest-agent/src/root_job.h). No run of a runner's gets such an image.
struct RootJobConfig {
  std::uint64_t uid = 0;
  std::uint64_t gid = 0;
  std::string work_dir;                                  // absolute
  std::vector<std::pair<std::string, std::string>> env;  // above what a job gets
};

// guest.json. What is empty or absent is not written.
struct GuestManifest {
  protocol::Digest kernel;
  protocol::Digest initramfs;
  protocol::Digest root;
  std::string kernel_release;
  std::string agent;  // version
  GuestConfig config;
  std::vector<GuestAgentPart> agents;
  std::optional<protocol::Digest> provenance;  // of provenance.json
  bool for_steps = false;                      // RootJobConfig is in its initramfs

  json::Value ToJson() const;
};
Result<GuestManifest> ParseGuestManifest(std::string_view bytes);

struct GuestBuild {
  std::string root;      // directory that becomes the root file system; links are not followed
  std::string kernel;    // bzImage or ELF; empty: the newest /boot/vmlinuz-*-cloud-amd64
  std::string modules;   // directory with modules.dep; empty: /lib/modules/RELEASE
  std::string agent;     // program: writ-guest-agent
  std::string launcher;  // program: writ-launch
  std::string version;   // of this project, for the manifest
  std::string name;      // in the store; "" for none
  GuestConfig config{};
  std::vector<GuestAgentPart> agents{};
  std::optional<RootJobConfig> root_job{};
  // Of a recipe: files beside the others, provenance.json among them. (name, bytes)
  std::vector<std::pair<std::string, std::string>> provenance{};
};

// The store that guest images of `dir` are in.
image::ImageStore GuestStore(const std::string& dir);
// kNotFound "microvm.mkfs" and its like with what to install; kUnsupported "microvm.architecture"
// where kernel or root are of another processor.
Result<image::ImageRecord> BuildGuestImage(const image::ImageStore& store, const GuestBuild& build);
// Of a held image's root directory.
Result<GuestManifest> ReadGuestManifest(const std::string& root);

}  // namespace writ::backends::microvm
