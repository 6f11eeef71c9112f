#include "plane/plane_parts.h"

#include <algorithm>

#include "writ/base/log.h"

namespace writ::runner {

HttpRequest Post(std::string path, std::string_view body, std::uint64_t max_bytes) {
  HttpRequest request;
  request.method = "POST";
  request.path = std::move(path);
  request.content_type = "application/json";
  request.body = body;
  request.max_response_bytes = max_bytes;
  return request;
}

bool MayRetry(int status) {
  return status == 429 || status == 502 || status == 503 || status == 504;
}

namespace {
constexpr std::chrono::milliseconds kPatience{2000};
}

void RetryNote::Failed(const HttpRequest& request, const Result<HttpResponse>& answer,
                       const Deadline& deadline) {
  if (told_ || deadline.Spent() < kPatience) return;
  told_ = true;
  log::Error("plane.retry", "the plane did not take a call, which is tried again until it does",
             {{"call", request.method + " " + request.path.substr(0, request.path.find('?'))},
              {"answer", answer ? std::to_string(answer->status) : answer.error().code},
              {"why", answer ? CodeOf(answer->body) : answer.error().message},
              {"givenUpAfterMs", (deadline.Spent() + deadline.Left()).count()}});
}

std::string CodeOf(const std::string& body) {
  if (body.size() > 64 * 1024) return {};
  Result<json::Value> value = json::Parse(body, {.max_depth = 16, .max_bytes = 64 * 1024});
  if (!value) return {};
  // The finer code of planes with the extension first (docs/protocol.md, section 6).
  for (const char* member : {"detail", "code"}) {
    std::string code(value->FindString(member).value_or(""));
    bool plain =
        !code.empty() && code.size() <= 64 && std::all_of(code.begin(), code.end(), [](char c) {
          return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
        });
    if (plain) return code;
  }
  return {};
}

std::string SentenceOf(const std::string& body, const Secret& secret) {
  constexpr std::size_t kMost = 300;
  if (body.size() > 64 * 1024) return {};
  Result<json::Value> value = json::Parse(body, {.max_depth = 16, .max_bytes = 64 * 1024});
  if (!value) return {};
  std::string text(value->FindString("error").value_or(""));
  if (!secret.empty() && text.find(secret.Reveal()) != std::string::npos) return {};
  if (text.size() > kMost) {
    std::size_t end = kMost;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    text.resize(end);
  }
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

Secret TakeSecret(json::Object& object, std::string_view name) {
  json::Value* value = object.Find(name);
  if (value == nullptr || value->if_string() == nullptr) return {};
  return Secret::Consume(const_cast<std::string&>(*value->if_string()));
}

void CheckSecrets(json::ObjectReader& reader) {
  if (!reader.Has("secrets")) return;
  reader.ForEachObject(
      "secrets",
      [](json::ObjectReader& secret) {
        secret.As<protocol::SecretName>("name");
        secret.String("value");
      },
      1000);
}

std::vector<NamedSecret> TakeSecrets(json::Object& object) {
  std::vector<NamedSecret> out;
  if (json::Value* secrets = object.Find("secrets")) {
    for (json::Value& secret : secrets->array()) {
      std::string name(secret.FindString("name").value_or(""));
      out.push_back({std::move(name), TakeSecret(secret.object(), "value")});
    }
  }
  return out;
}

std::chrono::milliseconds ClampedMillis(json::ObjectReader& reader, std::string_view name,
                                        std::chrono::milliseconds least,
                                        std::chrono::milliseconds most,
                                        std::chrono::milliseconds otherwise) {
  const json::Value* value = reader.Find(name);
  if (value == nullptr) return otherwise;
  const double* number = value->if_number();
  if (number == nullptr) {
    reader.issues().Add("object.type", reader.PointerOf(name), "must be a number");
    return otherwise;
  }
  if (!(*number > static_cast<double>(least.count()))) return least;
  if (*number >= static_cast<double>(most.count())) return most;
  return std::chrono::milliseconds(static_cast<std::int64_t>(*number));
}

}  // namespace writ::runner
