#include "writ/backends/job/base_environment.h"

#include <string.h>

#include <map>
#include <string_view>

namespace writ::backends {

std::vector<std::string> BuildEnvironment(const BaseEnvironment& base, const Environment& plan,
                                          const Environment& late) {
  std::map<std::string_view, std::string_view> merged = {
      {"PATH", "/usr/local/bin:/usr/bin:/bin"},
      {"HOME", base.home},
      {"USER", base.user},
      {"LOGNAME", base.user},
      {"LANG", "C.UTF-8"},
      {"TMPDIR", base.tmp},
      {"SHELL", "/bin/sh"},
      {"TERM", base.term},
  };
  for (const Environment* layer : {&plan, &late}) {
    for (const Variable& v : layer->vars) merged[v.name] = v.value;
    for (const SecretVariable& v : layer->secrets) merged[v.name] = v.value.Reveal();
  }
  merged[kJobMark] = base.run_id;
  std::vector<std::string> entries;
  entries.reserve(merged.size());
  for (const auto& [name, value] : merged) {
    std::string entry;
    entry.reserve(name.size() + 1 + value.size());  // no growth: a moved buffer would not be wiped
    entry.append(name).append("=").append(value);
    entries.push_back(std::move(entry));
  }
  return entries;
}

void WipeEnvironment(std::vector<std::string>& entries) {
  for (std::string& entry : entries) ::explicit_bzero(entry.data(), entry.size());
  entries.clear();
}

}  // namespace writ::backends
