#include "writ/egress/host_lint.h"

#include <libpsl.h>

#include <optional>
#include <utility>

#include "writ/egress/rules.h"

namespace writ::egress {
namespace {

struct Entry {
  std::size_t index;
  HostPattern host;
  std::string port;  // as written; empty: the default ports
};

std::optional<Entry> Read(std::size_t index, std::string_view text) {
  std::string port;
  const std::size_t colon = text.rfind(':');
  if (colon != std::string_view::npos && text.find(']', colon) == std::string_view::npos) {
    port = text.substr(colon + 1);
    text = text.substr(0, colon);
  }
  auto host = HostPattern::Parse(text);
  if (!host) return std::nullopt;
  return Entry{index, std::move(*host), std::move(port)};
}

bool IsPublicSuffix(const HostPattern& wildcard) {
  const std::string name = wildcard.ToString().substr(2);
  // The private section too (github.io): its names belong to as many owners.
  return psl_is_public_suffix2(psl_builtin(), name.c_str(), PSL_TYPE_ANY) != 0;
}

bool Covers(const Entry& wide, const Entry& narrow) {
  if (wide.port != narrow.port) return false;
  auto both = HostPattern::Intersect(wide.host, narrow.host);
  return both && *both == narrow.host;
}

}  // namespace

std::vector<HostFinding> LintHosts(const std::vector<std::string>& hosts) {
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < hosts.size(); ++i)
    if (auto entry = Read(i, hosts[i])) entries.push_back(std::move(*entry));
  std::vector<HostFinding> out;
  for (const Entry& entry : entries) {
    const std::string text = entry.host.ToString();
    if (entry.host.is_wildcard() && IsPublicSuffix(entry.host))
      out.push_back(
          {entry.index, "lint.public_suffix",
           text + " allows the names of everybody who registers one below " + text.substr(2),
           "name the owner's own domain, like *.example." + text.substr(2)});
    for (const Entry& other : entries) {
      if (other.index == entry.index || !Covers(other, entry)) continue;
      // Of two that are the same the first one stays.
      if (other.host == entry.host && other.index > entry.index) continue;
      out.push_back({entry.index, "lint.shadowed",
                     text + " decides nothing: entry " + std::to_string(other.index) + ", " +
                         other.host.ToString() + ", covers all of it",
                     "take one of the two away"});
      break;
    }
  }
  return out;
}

}  // namespace writ::egress
