// Provenance: how an image came from its recipe, step by step, by digests. In the image: `recipe`
// (the text), `provenance.json` (below) and, for each RUN, the bundle of its run: contract, chain
// and receipt, which anyone verifies offline like every bundle.
//
// What a bundle proves of a step: that this runner ran this command in a machine of that guest
// image, and that the layer with that digest came out. That parent and layer make the result, and
// that COPY brought those files, is the word of whoever built the image; the same inputs make the
// same digests again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"

namespace writ::backends::microvm {

inline constexpr char kProvenanceVersion[] = "writ.provenance.v1";
inline constexpr char kRecipeName[] = "recipe";

// A RUN.
struct ProvenanceRun {
  std::string run_id;
  std::string command;       // for /bin/sh -c
  protocol::Digest image;    // guest image that its machine booted
  protocol::Digest layer;    // what came out: a tree stream
  protocol::Digest receipt;  // of the bundle's text
  std::string file;          // in the image: "receipt-3.json"
};
struct ProvenanceStep {
  std::uint64_t line = 0;
  std::string text;
  protocol::Digest parent;                // root before
  protocol::Digest result;                // root afterwards
  std::optional<protocol::Digest> files;  // COPY: places, modes and contents
  std::optional<ProvenanceRun> run;
};
struct Provenance {
  protocol::Digest recipe;  // of its text
  std::string base;         // "FROM ..." as the recipe has it
  protocol::Digest base_root;
  std::vector<ProvenanceStep> steps;
  protocol::Digest root;  // of the last step

  json::Value ToJson() const;
};
Result<Provenance> ParseProvenance(std::string_view bytes);

// Reads the files of an image's folder and holds them together: recipe and bundles are what
// provenance.json names, each step begins where the one before ended, each bundle verifies by
// itself (`keys`: pinned ones) and is of a run that ended well, with this command, in this image,
// on the microvm tier, and with this layer as its output. kIntegrity "provenance.…"; kNotFound
// "provenance.none" where the image is of no recipe.
struct ProvenanceReport {
  Provenance provenance;
  std::size_t runs = 0;
  bool pinned = false;  // every bundle's plane and runner key was given
};
Result<ProvenanceReport> CheckProvenance(const std::string& folder,
                                         const protocol::VerifyOptions& keys);

}  // namespace writ::backends::microvm
