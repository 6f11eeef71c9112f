// BuildRecipe: a guest image from a recipe (recipe.h), step by step.
//
// Roots are images of a store below `work_dir`, named by what they are; a step whose parent, text
// and files are known there is not done again. COPY reads beneath the recipe's folder and follows
// no link. RUN is whoever calls' to do, in a machine; what comes back is a layer (a tree stream),
// which is carried out in a copy of the parent's root by the rules of tree_stream.h and then comes
// in as any image does: bounded, no devices, no set-id bits, every owner root.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "writ/backends/image/image_store.h"
#include "writ/backends/microvm/guest_image.h"
#include "writ/backends/microvm/provenance.h"
#include "writ/backends/microvm/recipe.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

// A RUN that is to be done.
struct StepOrder {
  std::string image;     // digest of the guest image that boots, "sha256:..."
  std::string work_dir;  // whose store has it
  std::string command;   // for /bin/sh -c
};
// A run that ended well.
struct StepDone {
  std::string run_id;
  std::string bundle;
  std::string layer;  // path of a file that is the caller's to remove: the tree stream
  protocol::Digest layer_digest;
};

struct RecipeBuild {
  std::string text;    // the recipe's
  std::string folder;  // what COPY reads
  std::string work_dir;
  std::string sources;                      // for FROM --suite; empty: the host's
  GuestBuild guest;                         // without root, config and provenance
  std::function<Status(int root)> furnish;  // before FROM's root is used; may be empty
  std::string furnish_key;                  // what it puts in, for the cache
  enum class Cache { kUsed, kIgnored } cache = Cache::kUsed;
  std::function<Result<StepDone>(const StepOrder&)> run;
  std::function<void(const std::string&)> told;  // for people; may be empty
};

// `images`: of FROM IMAGE. `store`: where the guest image goes.
Result<image::ImageRecord> BuildRecipe(const image::ImageStore& images,
                                       const image::ImageStore& store, const RecipeBuild& build);

// What no build that is at work uses: cached roots and receipts, all of them. How many went.
Result<std::size_t> CollectRecipeGarbage(const std::string& work_dir, bool dry_run);

// uid and gid of `user` in the /etc/passwd of `root`; a number is itself, with its own group where
// the file knows none. kInvalid "recipe.no_user". Follows no link.
struct GuestUser {
  std::uint64_t uid = 0;
  std::uint64_t gid = 0;
};
Result<GuestUser> FindGuestUser(int root, const std::string& user);

}  // namespace writ::backends::microvm
