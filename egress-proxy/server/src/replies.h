// What the proxy itself answers: refusals that name the reason and the rule (L28), failures that
// carry host, method, code and duration and nothing else (L10). Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "writ/egress/decision.h"

namespace writ::egress {

enum class AfterReply : std::uint8_t { kKeepOpen, kClose };
enum class ReplyBody : std::uint8_t { kSend, kOmit };  // omitted for HEAD; the length is still said

struct ReplyShape {
  AfterReply after = AfterReply::kClose;
  ReplyBody body = ReplyBody::kSend;
};

// 403 with X-Writ-Denied and X-Writ-Rule.
std::string DenialReply(const Decision& decision, std::string_view host, std::uint16_t port,
                        ReplyShape shape);
// 407; the job is told how to authenticate, not what the token is.
std::string UnauthenticatedReply(ReplyShape shape);
// 4xx and 503 of the proxy's own. `code` as in HttpRefusal.
std::string RefusalReply(int status, std::string_view code, ReplyShape shape);
// 502 and 504.
std::string UpstreamFailureReply(int status, std::string_view what, std::string_view method,
                                 std::string_view host, std::uint16_t port,
                                 std::chrono::milliseconds waited, ReplyShape shape);
// A TLS alert record, fatal, access_denied (RFC 8446 section 6.2): the last word in a refused
// tunnel.
std::string_view TlsAccessDenied();

std::string_view StatusText(int status);

}  // namespace writ::egress
