#include <array>
#include <charconv>

#include "writ/runner/profiles.h"

namespace writ::runner {
namespace {

struct Version {
  std::array<std::uint64_t, 3> parts{};
  std::size_t given = 0;  // how many parts the text had
  bool pre_release = false;
};

// "2", "2.1", "2.1.3", "2.1.3-beta.1", "2.1.3+build"; a leading "v" is allowed.
std::optional<Version> ParseVersion(std::string_view text) {
  if (text.starts_with('v')) text.remove_prefix(1);
  Version version;
  if (std::size_t plus = text.find('+'); plus != std::string_view::npos)
    text = text.substr(0, plus);
  if (std::size_t dash = text.find('-'); dash != std::string_view::npos) {
    version.pre_release = true;
    text = text.substr(0, dash);
  }
  while (version.given < 3) {
    auto [end, err] =
        std::from_chars(text.data(), text.data() + text.size(), version.parts[version.given]);
    if (err != std::errc()) return std::nullopt;
    ++version.given;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (text.empty()) return version;
    if (text[0] != '.') return std::nullopt;
    text.remove_prefix(1);
  }
  return std::nullopt;
}

int Compare(const Version& a, const Version& b) {
  if (a.parts != b.parts) return a.parts < b.parts ? -1 : 1;
  if (a.pre_release != b.pre_release) return a.pre_release ? -1 : 1;
  return 0;
}

// The first version behind all that begin like the first `kept` parts of `v`.
Version Behind(Version v, std::size_t kept) {
  for (std::size_t i = kept; i < 3; ++i) v.parts[i] = 0;
  ++v.parts[kept - 1];
  v.pre_release = false;
  return v;
}

Error BadRange() {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "agent.version_range",
               .message = "the contract's agent version is no range that this runner understands",
               .hint = "write it as \">=2.1\", \"^2.0.3\", \"2\" or several of these"};
}

}  // namespace

Result<bool> VersionMeets(std::string_view range, std::string_view version_text) {
  std::optional<Version> version = ParseVersion(version_text);
  bool meets = version.has_value();
  std::size_t comparators = 0;
  while (!range.empty()) {
    if (range[0] == ' ' || range[0] == ',') {
      range.remove_prefix(1);
      continue;
    }
    std::string_view op;
    for (std::string_view known : {">=", "<=", ">", "<", "=", "^", "~"}) {
      if (range.starts_with(known)) {
        op = known;
        break;
      }
    }
    range.remove_prefix(op.size());
    while (!op.empty() && range.starts_with(' ')) range.remove_prefix(1);
    std::string_view text = range.substr(0, range.find_first_of(" ,"));
    range.remove_prefix(text.size());
    std::optional<Version> bound = ParseVersion(text);
    if (!bound || ++comparators > 16) return BadRange();
    if (!version) continue;
    const bool at_least = Compare(*version, *bound) >= 0;
    auto below = [&](std::size_t kept) { return Compare(*version, Behind(*bound, kept)) < 0; };
    if (op == ">=") {
      meets = meets && at_least;
    } else if (op == ">") {
      meets = meets && Compare(*version, *bound) > 0 && (bound->given == 3 || !below(bound->given));
    } else if (op == "<") {
      meets = meets && !at_least;
    } else if (op == "<=") {
      meets =
          meets && (Compare(*version, *bound) <= 0 || (bound->given < 3 && below(bound->given)));
    } else if (op == "^") {
      std::size_t kept = 1;
      while (kept < bound->given && bound->parts[kept - 1] == 0) ++kept;
      meets = meets && at_least && below(kept);
    } else if (op == "~") {
      meets = meets && at_least && below(bound->given == 1 ? 1 : 2);
    } else {
      meets = meets && at_least &&
              (bound->given == 3 ? Compare(*version, *bound) == 0 : below(bound->given));
    }
  }
  if (comparators == 0) return BadRange();
  return meets;
}

}  // namespace writ::runner
