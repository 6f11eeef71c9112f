// Ignore rules and globs: they end, and stay within their text.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "writ/workspace/ignore_rules.h"
#include "writ/workspace/path_rules.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace writ::workspace;  // NOLINT: a program of its own
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::size_t nul = bytes.find('\0');
  std::string_view path = bytes.substr(0, nul);
  std::string_view rules_text = nul == std::string_view::npos ? bytes : bytes.substr(nul + 1);
  if (path.size() > 200 || rules_text.size() > 2000) return 0;
  IgnoreRules rules;
  rules.AddFile("", rules_text);
  rules.AddFile("a", rules_text);
  (void)rules.Match(path, IgnoreRules::Kind::kFile);
  (void)rules.Match(path, IgnoreRules::Kind::kDirectory);
  rules.LeaveTo("b");
  (void)PathGlobMatches(rules_text, path);
  if (IsSafeTreePath(path) && path.find('\0') != std::string_view::npos) std::abort();
  return 0;
}
