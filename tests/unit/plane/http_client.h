// A small blocking HTTP client for tests: libcurl for whole messages, a raw socket for hostile
// ones.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "writ/protocol/json.h"

namespace writ::test {

struct HttpAnswer {
  long status = 0;  // 0: no answer; `failure` says why
  std::string body;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string failure;
  json::Value Json() const;  // null where the body is not JSON
};

struct HttpCall {
  std::string method = "GET";
  std::string path;
  std::string token;  // bearer; empty: none
  std::optional<std::string> body;
  std::string content_type = "application/json";
};

class HttpClient {
 public:
  explicit HttpClient(std::string base_url);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  HttpAnswer Send(const HttpCall& call);
  HttpAnswer Get(const std::string& path, const std::string& token = "");
  HttpAnswer Post(const std::string& path, const json::Value& body, const std::string& token = "");

  std::string unix_socket;  // where to connect instead of the URL's host; empty: there
  std::string ca_file, certificate, key;  // for TLS

 private:
  std::string base_url_;
  void* curl_;  // one connection, kept alive
};

// Sends bytes as they are and reads until the server closes or five seconds have passed.
std::string RawExchange(int port, std::string_view bytes);

}  // namespace writ::test
