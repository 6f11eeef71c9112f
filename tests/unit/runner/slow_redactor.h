// The redactor's meaning, written down as slowly and plainly as possible: the oracle of the
// differential tests.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "writ/runner/redactor.h"

namespace writ::test {

inline std::string SlowRedact(const std::vector<runner::NamedSecret>& secrets,
                              std::string_view text) {
  struct Match {
    std::size_t begin, end, secret;
  };
  std::vector<Match> matches;
  for (std::size_t i = 0; i < secrets.size(); ++i) {
    for (const runner::SecretForm& form : runner::FormsOf(secrets[i].value.Reveal(), i)) {
      std::string_view bytes = form.bytes.Reveal();
      for (std::size_t at = text.find(bytes); at != std::string_view::npos;
           at = text.find(bytes, at + 1))
        matches.push_back({at, at + bytes.size(), i});
    }
  }
  std::sort(matches.begin(), matches.end(), [](const Match& a, const Match& b) {
    if (a.begin != b.begin) return a.begin < b.begin;
    if (a.end != b.end) return a.end > b.end;
    return a.secret < b.secret;
  });
  std::string out;
  std::size_t at = 0;
  for (std::size_t i = 0; i < matches.size();) {
    std::size_t end = matches[i].end;
    std::size_t j = i + 1;
    while (j < matches.size() && matches[j].begin < end) end = std::max(end, matches[j++].end);
    out += text.substr(at, matches[i].begin - at);
    out += "[REDACTED:" + secrets[matches[i].secret].name + "]";
    at = end;
    i = j;
  }
  out += text.substr(at);
  return out;
}

}  // namespace writ::test
