// GuestImage: what a machine boots from - kernel, initramfs with our agent, root file system - and
// how it is made.
//
// A guest image is a directory image of an ImageStore of its own, so names, digests, locks and
// removal are that store's. In its root: kernel (ELF), initramfs, root.erofs, guest.json. The same
// inputs give the same digests: no time, owner or order of any disk is in it.
#pragma once

#include <cstdint>
#include <string>

#include "writ/backends/image/image_store.h"
#include "writ/base/result.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"

namespace writ::backends::microvm {

inline constexpr char kKernelName[] = "kernel";
inline constexpr char kInitramfsName[] = "initramfs";
inline constexpr char kRootName[] = "root.erofs";

// guest.json.
struct GuestManifest {
  protocol::Digest kernel;
  protocol::Digest initramfs;
  protocol::Digest root;
  std::string kernel_release;
  std::string agent;  // version

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
};

// The store that guest images of `dir` are in.
image::ImageStore GuestStore(const std::string& dir);
// kNotFound "microvm.mkfs" and its like with what to install.
Result<image::ImageRecord> BuildGuestImage(const image::ImageStore& store, const GuestBuild& build);
// Of a held image's root directory.
Result<GuestManifest> ReadGuestManifest(const std::string& root);

}  // namespace writ::backends::microvm
