// What the sources of PlaneClient share: making requests that hold tokens, reading members of
// answers that nobody may trust.
#pragma once

#include <string.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/protocol/reader.h"
#include "writ/runner/plane_client.h"

namespace writ::runner {

inline constexpr std::uint64_t kSmallAnswer = 1 << 20;
inline constexpr std::uint64_t kClaimAnswer = 64 << 20;

// How long a transfer may stand still before it is made again: a plane that has all bytes of a blob
// flushes them in that time, and a large one in more.
inline std::chrono::milliseconds TransferSilence(std::uint64_t bytes) {
  return std::chrono::seconds(60 + bytes / (4 << 20));
}

HttpRequest Post(std::string path, std::string_view body, std::uint64_t max_bytes = kSmallAnswer);

// A request body that holds a token: wiped when it goes.
struct WipedText {
  std::string text;
  ~WipedText() { explicit_bzero(text.data(), text.size()); }
};

bool MayRetry(int status);

// Why a call takes long: told once per call, when it has failed for two seconds. A call's path
// names no secret.
class RetryNote {
 public:
  void Failed(const HttpRequest& request, const Result<HttpResponse>& answer,
              const Deadline& deadline);

 private:
  bool told_ = false;
};

// A plane's `detail` or else `code` member, if it looks like one: it is shown, so it must not be
// able to carry anything else.
std::string CodeOf(const std::string& body);
// The `error` sentence of a refusal's body, for a person to read: from outside, so control
// characters are spaces and 300 bytes are enough. Empty where there is none, and where it repeats
// `secret`, which the call carried (L8).
std::string SentenceOf(const std::string& body, const Secret& secret);

// Moves a text member out of a parsed answer without leaving a copy behind (L8).
Secret TakeSecret(json::Object& object, std::string_view name);

// The `secrets` of a claim or an acknowledgement: checked, then taken.
void CheckSecrets(json::ObjectReader& reader);
std::vector<NamedSecret> TakeSecrets(json::Object& object);

// A time in ms that is ours to clamp: absurd numbers of any size become the nearest end, an absent
// member the default; another type is an issue.
std::chrono::milliseconds ClampedMillis(json::ObjectReader& reader, std::string_view name,
                                        std::chrono::milliseconds least,
                                        std::chrono::milliseconds most,
                                        std::chrono::milliseconds otherwise);

}  // namespace writ::runner
