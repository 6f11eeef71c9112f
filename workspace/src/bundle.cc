#include "writ/workspace/bundle.h"

namespace writ::workspace {
namespace {

Error Bad(std::string code, std::string message, std::string hint = {}) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "bundle." + std::move(code),
               .message = std::move(message),
               .hint = std::move(hint)};
}

Error BadLine(std::size_t number, std::string_view why) {
  return Bad("malformed",
             "line " + std::to_string(number) + " of the bundle's header " + std::string(why));
}

// "<oid>" and the rest after one space; false where the id is not 40 hex digits.
bool SplitId(std::string_view line, ObjectId& id, std::string_view& rest) {
  auto parsed = ObjectId::FromHex(line.substr(0, 40));
  if (!parsed || (line.size() > 40 && line[40] != ' ')) return false;
  id = *parsed;
  rest = line.size() > 41 ? line.substr(41) : std::string_view();
  return true;
}

bool IsHex(std::string_view text) {
  for (char c : text)
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  return true;
}

Status ReadCapability(std::string_view line) {
  if (line == "object-format=sha1") return {};
  if (line.starts_with("object-format="))
    return Bad("object_format",
               "the bundle is of a repository with another object format than SHA-1",
               "only SHA-1 repositories are supported");
  if (line.starts_with("filter="))
    return Bad("filter", "the bundle leaves objects out by a filter",
               "make it of a full clone, without --filter");
  return Bad("capability", "the bundle asks for a capability that is not known here");
}

}  // namespace

Result<BundleHeader> ParseBundleHeader(std::string_view bytes) {
  constexpr std::string_view kV2 = "# v2 git bundle\n";
  constexpr std::string_view kV3 = "# v3 git bundle\n";
  BundleHeader header;
  if (bytes.starts_with(kV3)) {
    header.version = 3;
  } else if (!bytes.starts_with(kV2)) {
    return Bad("not_a_bundle", "these bytes are not a git bundle of version 2 or 3");
  }
  std::string_view text = bytes.substr(0, kMaxBundleHeaderBytes);
  std::size_t pos = kV2.size();
  for (std::size_t number = 2;; ++number) {
    std::size_t end = text.find('\n', pos);
    if (end == std::string_view::npos)
      return Bad("malformed", text.size() < kMaxBundleHeaderBytes
                                  ? "the bundle ends within its header"
                                  : "the bundle's header is over 4 MiB");
    std::string_view line = text.substr(pos, end - pos);
    pos = end + 1;
    if (line.empty()) break;
    if (line.find('\0') != std::string_view::npos) return BadLine(number, "holds a NUL");
    if (line.front() == '@') {
      if (header.version < 3 || !header.refs.empty() || !header.prerequisites.empty())
        return BadLine(number, "has a capability where none may stand");
      WRIT_TRY(ReadCapability(line.substr(1)));
      continue;
    }
    bool prerequisite = line.front() == '-';
    ObjectId id;
    std::string_view rest;
    std::string_view body = prerequisite ? line.substr(1) : line;
    if (!SplitId(body, id, rest)) {
      if (body.size() >= 64 && IsHex(body.substr(0, 64)))
        return Bad("object_format", "the bundle is of a SHA-256 repository",
                   "only SHA-1 repositories are supported");
      return BadLine(number, "is neither a prerequisite nor a ref");
    }
    if (prerequisite) {
      if (!header.refs.empty()) return BadLine(number, "is a prerequisite after a ref");
      header.prerequisites.push_back(id);
    } else {
      if (rest.empty() || rest.size() > 4096) return BadLine(number, "is a ref without a fit name");
      header.refs.push_back({id, std::string(rest)});
    }
  }
  if (header.refs.empty()) return Bad("no_ref", "the bundle names no ref");
  header.pack_offset = pos;
  if (bytes.substr(pos, 4) != "PACK") return Bad("no_pack", "no pack follows the bundle's header");
  return header;
}

std::string FormatBundleHeader(const BundleHeader& header) {
  std::string out =
      header.version == 3 ? "# v3 git bundle\n@object-format=sha1\n" : "# v2 git bundle\n";
  for (const ObjectId& id : header.prerequisites) out += "-" + id.Hex() + "\n";
  for (const BundleRef& ref : header.refs) out += ref.id.Hex() + " " + ref.name + "\n";
  return out + "\n";
}

}  // namespace writ::workspace
