// The bundle `warrant.bundle.v1`: everything that an auditor needs, and its offline verification.
//
// VerifyBundle reads the text once: a strict scan (json.h's rules), canonical bytes and SHA-256 per
// event, and no tree for the whole. It never trusts what it reads: keys come from the bundle unless
// the caller pins them, and an unpinned result says so. Pure; `text` is only read during the call.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "writ/protocol/contract.h"
#include "writ/protocol/event.h"
#include "writ/protocol/receipt.h"

namespace writ::protocol {

inline constexpr std::string_view kBundleVersion = "warrant.bundle.v1";

struct BundleKeys {
  PublicKey plane;
  PublicKey runner;
  std::optional<PublicKey> org;
};

json::Value BuildBundle(const Contract& contract, const Receipt& receipt,
                        std::span<const Event> events, const BundleKeys& keys);

// What a verifier reads where nobody asks for more: some 700,000 events.
inline constexpr std::size_t kDefaultMaxBundleBytes = std::size_t{256} << 20;

struct KeyManifest;

struct VerifyOptions {
  // Keys that the caller knows from elsewhere. Each one given must be the key that the bundle
  // names.
  std::optional<PublicKey> plane_key = std::nullopt;
  std::optional<PublicKey> runner_key = std::nullopt;
  std::optional<PublicKey> org_key = std::nullopt;
  // Instead of plane_key: the plane keys that an organisation signed (key_manifest.h), checked by
  // the caller. The bundle's plane key must be one of them at the time of the contract. Borrowed.
  const KeyManifest* key_manifest = nullptr;
  bool require_pinned = false;  // a problem where plane or runner key is not pinned
  // More is refused before it is read (json.too_large). The number of JSON values is bounded along
  // with it (json.too_many_values), so that time and memory are too, whatever the text is.
  std::size_t max_bytes = kDefaultMaxBundleBytes;
};

struct Finding {
  std::string code;      // stable; the list is in protocol/README.md
  std::string message;   // one sentence
  std::string pointer;   // JSON pointer into the bundle; "" for the whole
  bool further = false;  // a check of ours beyond those that every verifier of the protocol makes
};

struct VerifyReport {
  bool ok = false;            // no problems
  bool pinned = false;        // plane and runner key were given by the caller
  bool plane_pinned = false;  // each for itself
  bool runner_pinned = false;
  bool closed_by_plane = false;  // the plane closed the run in its runner's place, as facts say
  std::vector<Finding> problems;
  std::vector<Finding> warnings;  // odd, but nothing that the protocol forbids
  std::vector<Finding> notes;     // what this receipt does not prove (L47)
  // What was verified: run id, status, counts, hosts ... An object; empty where the text is not a
  // bundle at all.
  json::Object facts;

  bool HasProblem(std::string_view code) const;
};

VerifyReport VerifyBundle(std::string_view text, const VerifyOptions& options = {});
// The same over a parsed value: slower, for bundles that are at hand as values. Equal results
// (tested).
VerifyReport VerifyBundleValue(const json::Value& bundle, const VerifyOptions& options = {});

// One screen of text, ending in a newline; and the JSON that --json prints.
std::string RenderText(const VerifyReport& report, std::string_view name);
json::Value RenderJson(const VerifyReport& report);

}  // namespace writ::protocol
