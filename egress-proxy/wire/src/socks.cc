#include "writ/egress/socks.h"

namespace writ::egress {
namespace {

std::uint8_t At(std::string_view in, std::size_t index) {
  return static_cast<std::uint8_t>(in[index]);
}

constexpr std::uint8_t kConnect = 0x01, kV4 = 0x01, kDomain = 0x03, kV6 = 0x04;
constexpr std::uint8_t kCredentialsVersion = 0x01;

}  // namespace

SocksRead<SocksGreeting> ReadSocksGreeting(std::string_view in) {
  if (!in.empty() && in[0] != kSocksVersion) return SocksRefusal{"socks.version"};
  if (in.size() < 2) return SocksNeedMore{};
  const std::size_t methods = At(in, 1);
  if (methods == 0) return SocksRefusal{"socks.no_methods"};
  if (in.size() < 2 + methods) return SocksNeedMore{};
  SocksGreeting greeting;
  for (std::size_t i = 0; i < methods; ++i) {
    const auto method = static_cast<SocksMethod>(At(in, 2 + i));
    greeting.offers_none |= method == SocksMethod::kNone;
    greeting.offers_password |= method == SocksMethod::kPassword;
  }
  return SocksMessage<SocksGreeting>{greeting, 2 + methods};
}

SocksRead<SocksCredentials> ReadSocksCredentials(std::string_view in) {
  if (!in.empty() && At(in, 0) != kCredentialsVersion) return SocksRefusal{"socks.credentials"};
  if (in.size() < 2) return SocksNeedMore{};
  const std::size_t name = At(in, 1);
  if (in.size() < 3 + name) return SocksNeedMore{};
  const std::size_t password = At(in, 2 + name);
  if (in.size() < 3 + name + password) return SocksNeedMore{};
  return SocksMessage<SocksCredentials>{
      {std::string(in.substr(2, name)), std::string(in.substr(3 + name, password))},
      3 + name + password};
}

SocksRead<SocksRequest> ReadSocksRequest(std::string_view in) {
  if (!in.empty() && in[0] != kSocksVersion) return SocksRefusal{"socks.version"};
  if (in.size() > 1 && At(in, 1) != kConnect)
    return SocksRefusal{"socks.command", SocksStatus::kCommand};
  if (in.size() > 2 && At(in, 2) != 0) return SocksRefusal{"socks.reserved"};
  if (in.size() < 5) return SocksNeedMore{};
  const std::uint8_t type = At(in, 3);
  if (type != kV4 && type != kV6 && type != kDomain)
    return SocksRefusal{"socks.address_type", SocksStatus::kAddressType};
  const std::size_t begin = type == kDomain ? 5 : 4;
  const std::size_t length = type == kDomain ? At(in, 4) : type == kV4 ? 4 : 16;
  if (length == 0) return SocksRefusal{"socks.empty_host"};
  if (in.size() < begin + length + 2) return SocksNeedMore{};
  SocksRequest request;
  (type == kDomain ? request.host : request.address) = in.substr(begin, length);
  request.port =
      static_cast<std::uint16_t>(At(in, begin + length) << 8 | At(in, begin + length + 1));
  if (request.port == 0) return SocksRefusal{"socks.port"};
  return SocksMessage<SocksRequest>{std::move(request), begin + length + 2};
}

std::string SocksMethodReply(SocksMethod method) {
  return {kSocksVersion, static_cast<char>(method)};
}

std::string SocksCredentialsReply(bool good) {
  return {static_cast<char>(kCredentialsVersion), static_cast<char>(good ? 0 : 1)};
}

std::string SocksReply(SocksStatus status) {
  return {kSocksVersion, static_cast<char>(status), 0, static_cast<char>(kV4), 0, 0, 0, 0, 0, 0};
}

}  // namespace writ::egress
