#include "writ/runner/redactor.h"

#include <string.h>

#include <algorithm>

#include "redact/table.h"

namespace writ::runner {
namespace {

// Long chunks are scanned in slices, so that what is held back stays small whatever the caller
// gives.
constexpr std::size_t kSlice = 64 * 1024;

std::string Marker(const std::string& name) {
  return "[REDACTED:" + name + "]";
}

}  // namespace

Result<Redactor> Redactor::Build(const std::vector<NamedSecret>& secrets, RedactIn where) {
  for (const NamedSecret& secret : secrets) {
    if (secret.value.empty()) continue;
    WRIT_TRY(protocol::CheckSecretLength(secret.name, secret.value.Reveal()));
  }
  return Redactor(std::make_shared<const RedactionTable>(secrets, where));
}

Redactor::~Redactor() = default;
bool Redactor::empty() const {
  return table_->empty();
}
std::size_t Redactor::form_bytes_max() const {
  return table_->longest();
}

std::string Redactor::Redact(std::string_view bytes) const {
  std::string out;
  RedactionStream stream(*this, [&](std::string_view piece) { out += piece; });
  stream.Write(bytes);
  stream.Finish();
  return out;
}

std::optional<std::string> Redactor::FindIn(std::string_view bytes) const {
  SecretScan scan(*this);
  return scan.Write(bytes);
}

RedactionStream::RedactionStream(const Redactor& redactor, Sink sink)
    : table_(redactor.table()), sink_(std::move(sink)) {}

RedactionStream::~RedactionStream() {
  explicit_bzero(pending_.data(), pending_.size());
}

void RedactionStream::Write(std::string_view chunk) {
  if (table_->empty()) {
    if (!chunk.empty()) sink_(chunk);
    return;
  }
  while (!chunk.empty()) {
    Scan(chunk.substr(0, kSlice));
    chunk.remove_prefix(std::min(chunk.size(), kSlice));
  }
}

void RedactionStream::Scan(std::string_view slice) {
  const auto* at = reinterpret_cast<const unsigned char*>(slice.data());
  const auto* const begin = at;
  const auto* const end = at + slice.size();
  std::uint32_t state = state_;
  while (at != end) {
    if (state == RedactionTable::kRoot) {
      while (end - at >= 2 && !table_->MayBegin(at[0], at[1])) ++at;
      if (end - at == 1 && !table_->MayBegin(at[0])) ++at;
      if (at == end) break;
    }
    state = table_->Step(state, *at++);
    if (std::uint32_t length = table_->match_length(state); length != 0) {
      std::uint64_t stop = position_ + static_cast<std::uint64_t>(at - begin);
      Match(stop - length, stop, table_->match_secret(state));
    }
  }
  state_ = state;
  position_ += slice.size();
  pending_ += slice;
  EmitUpTo(position_ - table_->depth(state_));
}

// Joins a new match with the open regions that it overlaps; it ends at or after all of them.
void RedactionStream::Match(std::uint64_t begin, std::uint64_t end, std::uint32_t secret) {
  Region joined{begin, end, begin, end, secret, false};
  while (!regions_.empty() && regions_.back().end > joined.begin) {
    const Region& last = regions_.back();
    bool names = last.name_begin < joined.name_begin ||
                 (last.name_begin == joined.name_begin && last.name_end >= joined.name_end);
    if (names) {
      joined.name_begin = last.name_begin;
      joined.name_end = last.name_end;
      joined.secret = last.secret;
    }
    joined.begin = std::min(joined.begin, last.begin);
    joined.marked = joined.marked || last.marked;
    regions_.pop_back();
  }
  regions_.push_back(joined);
}

// Writes what no later match can change: later matches begin at `safe` or after it.
void RedactionStream::EmitUpTo(std::uint64_t safe) {
  std::uint64_t at = pending_begin_;
  std::string_view pending = pending_;
  auto emit = [&](std::uint64_t from, std::uint64_t to) {
    if (to > from) sink_(pending.substr(from - pending_begin_, to - from));
  };
  std::size_t done = 0;
  for (Region& region : regions_) {
    if (region.begin >= safe) break;
    emit(at, std::max(at, region.begin));
    if (!region.marked) {
      sink_(Marker(table_->name(region.secret)));
      ++replaced_;
      region.marked = true;
    }
    at = std::min(region.end, safe);
    if (region.end > safe) {
      region.begin = safe;  // covered so far, and its bytes are not needed any more
      break;
    }
    ++done;
  }
  regions_.erase(regions_.begin(), regions_.begin() + static_cast<std::ptrdiff_t>(done));
  emit(at, std::max(at, safe));
  at = std::max(at, safe);
  pending_.erase(0, at - pending_begin_);
  pending_begin_ = at;
}

void RedactionStream::Finish() {
  if (table_->empty()) return;
  state_ = RedactionTable::kRoot;
  EmitUpTo(position_);
}

SecretScan::SecretScan(const Redactor& redactor) : table_(redactor.table()) {}

const std::optional<std::string>& SecretScan::Write(std::string_view chunk) {
  if (found_ || table_->empty()) return found_;
  const auto* at = reinterpret_cast<const unsigned char*>(chunk.data());
  const auto* const end = at + chunk.size();
  while (at != end) {
    if (state_ == RedactionTable::kRoot) {
      while (end - at >= 2 && !table_->MayBegin(at[0], at[1])) ++at;
    }
    state_ = table_->Step(state_, *at++);
    if (table_->match_length(state_) != 0) {
      found_ = table_->name(table_->match_secret(state_));
      break;
    }
  }
  return found_;
}

}  // namespace writ::runner
