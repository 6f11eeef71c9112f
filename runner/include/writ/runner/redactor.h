// Redactor: takes the values of released secrets out of byte streams (L9).
//
// Every value is looked for in the forms in which programs print it: as it is, base64 and base64url
// in all three alignments, hex in both cases, percent-encoded (RFC 3986, encodeURI, form, every
// byte; both hex cases) and JSON-escaped (minimal, with "\/", ASCII-only, HTML-safe, twice); of a
// value with several lines also each line of at least kMinLineBytes. One pass (Aho-Corasick),
// memory bounded by the longest form, any split into chunks gives the same bytes.
//
// What is written: the union of all matches. Matches that overlap become one region, and a region
// becomes
// "[REDACTED:NAME]", NAME being the secret whose match begins first (of those the longest).
//
// A host name is looked at in lower case, because names are normalised before they are recorded: a
// redactor for host names has all forms in lower case, those that a name can hold.
//
// Values whose length protocol/secret_rules.h refuses are refused by Build, and the session does
// not start (secret_release_denied). An empty value is nothing and is ignored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/protocol/secret_rules.h"

namespace writ::runner {

using protocol::kMaxSecretBytes;
using protocol::kMinSecretBytes;
inline constexpr std::size_t kMinLineBytes = 16;

struct NamedSecret {
  std::string name;
  Secret value;
};

// One form of one secret. Holds the value: never logged, wiped by its owner.
struct SecretForm {
  std::size_t secret = 0;  // index into the list that was given
  Secret bytes;
};
// All forms of the value, without duplicates; shorter than kMinSecretBytes are left out. Pure.
std::vector<SecretForm> FormsOf(std::string_view value, std::size_t secret_index);

class RedactionTable;  // the automaton

enum class RedactIn { kBytes, kHostNames };

// Immutable after Build; may be shared by threads. Wipes its table when the last user goes.
class Redactor {
 public:
  // kInvalid as CheckSecretLength says.
  static Result<Redactor> Build(const std::vector<NamedSecret>& secrets,
                                RedactIn where = RedactIn::kBytes);

  Redactor(const Redactor&) = default;
  Redactor& operator=(const Redactor&) = default;
  ~Redactor();

  // Where there is nothing to look for, streams pass bytes through untouched.
  bool empty() const;
  std::size_t form_bytes_max() const;

  // Convenience for whole values: error texts, small files.
  std::string Redact(std::string_view bytes) const;
  // The name of a secret that stands in `bytes`, if any.
  std::optional<std::string> FindIn(std::string_view bytes) const;

  std::shared_ptr<const RedactionTable> table() const { return table_; }

 private:
  explicit Redactor(std::shared_ptr<const RedactionTable> table) : table_(std::move(table)) {}
  std::shared_ptr<const RedactionTable> table_;
};

// One stream. Not thread-safe. `sink` gets the redacted bytes in order, in pieces of any size.
class RedactionStream {
 public:
  using Sink = std::function<void(std::string_view)>;
  RedactionStream(const Redactor& redactor, Sink sink);
  ~RedactionStream();
  RedactionStream(const RedactionStream&) = delete;
  RedactionStream& operator=(const RedactionStream&) = delete;

  void Write(std::string_view chunk);
  // The end of the stream: what was held back is written. Nothing may follow.
  void Finish();
  // Regions replaced so far.
  std::uint64_t replaced() const { return replaced_; }

 private:
  struct Region {
    std::uint64_t begin = 0;  // offsets in the whole stream
    std::uint64_t end = 0;
    std::uint64_t name_begin = 0;  // the match that names the region
    std::uint64_t name_end = 0;
    std::uint32_t secret = 0;
    bool marked = false;  // its marker has been written
  };
  void Scan(std::string_view slice);
  void Match(std::uint64_t begin, std::uint64_t end, std::uint32_t secret);
  void EmitUpTo(std::uint64_t safe);

  std::shared_ptr<const RedactionTable> table_;
  Sink sink_;
  std::string pending_;  // bytes [pending_begin_, position_)
  std::uint64_t pending_begin_ = 0;
  std::uint64_t position_ = 0;
  std::uint32_t state_ = 0;
  std::vector<Region> regions_;  // open ones, in order, disjoint
  std::uint64_t replaced_ = 0;
};

// Looks without replacing: for files that are carried as they are. Not thread-safe.
class SecretScan {
 public:
  explicit SecretScan(const Redactor& redactor);
  // The secret's name as soon as one of its forms is complete; later calls keep that answer.
  const std::optional<std::string>& Write(std::string_view chunk);

 private:
  std::shared_ptr<const RedactionTable> table_;
  std::uint32_t state_ = 0;
  std::optional<std::string> found_;
};

}  // namespace writ::runner
