// SOCKS5 messages (RFC 1928, RFC 1929): taken whole however their bytes arrive, refused with a
// code.
#include <gtest/gtest.h>

#include "writ/egress/socks.h"

namespace writ::egress {
namespace {

using namespace std::string_literals;

template <typename T>
std::string CodeOf(const SocksRead<T>& read) {
  if (const auto* refused = std::get_if<SocksRefusal>(&read)) return std::string(refused->code);
  return std::holds_alternative<SocksNeedMore>(read) ? "more" : "taken";
}

// Every prefix asks for more; the whole is taken to its last byte and not a byte further.
template <typename T>
T Whole(SocksRead<T> (*read)(std::string_view), const std::string& bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i)
    EXPECT_EQ(CodeOf(read(std::string_view(bytes).substr(0, i))), "more") << i;
  auto got = read(bytes + "rest");
  const auto* message = std::get_if<SocksMessage<T>>(&got);
  EXPECT_NE(message, nullptr) << CodeOf(got);
  if (message == nullptr) return {};
  EXPECT_EQ(message->bytes, bytes.size());
  return message->value;
}

TEST(SocksWire, TakesGreetingsCredentialsAndRequestsPieceByPiece) {
  SocksGreeting greeting = Whole(&ReadSocksGreeting, "\x05\x03\x01\x00\x02"s);
  EXPECT_TRUE(greeting.offers_none && greeting.offers_password);
  greeting = Whole(&ReadSocksGreeting, "\x05\x01\x01"s);
  EXPECT_FALSE(greeting.offers_none || greeting.offers_password);
  SocksCredentials given = Whole(&ReadSocksCredentials, "\x01\x04writ\x03tok"s);
  EXPECT_EQ(given.name + "/" + given.password, "writ/tok");
  given = Whole(&ReadSocksCredentials, "\x01\x00\x00"s);
  EXPECT_EQ(given.name + given.password, "");
  SocksRequest request = Whole(&ReadSocksRequest,
                               "\x05\x01\x00\x03\x03"
                               "a.b\x01\xbb"s);
  EXPECT_EQ(request.host, "a.b");
  EXPECT_EQ(request.port, 443);
  request = Whole(&ReadSocksRequest, "\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16"s);
  EXPECT_EQ(request.address, "\x7f\x00\x00\x01"s);
  EXPECT_EQ(request.port, 22);
  request = Whole(&ReadSocksRequest, "\x05\x01\x00\x04"s + std::string(15, '\0') + "\x01\x00\x50"s);
  EXPECT_EQ(request.address.size(), 16u);
  EXPECT_TRUE(request.host.empty());
}

TEST(SocksWire, RefusesWhatIsNoneOfIt) {
  EXPECT_EQ(CodeOf(ReadSocksGreeting("\x04"s)), "socks.version");
  EXPECT_EQ(CodeOf(ReadSocksGreeting("\x05\x00"s)), "socks.no_methods");
  EXPECT_EQ(CodeOf(ReadSocksCredentials("\x05"s)), "socks.credentials");
  EXPECT_EQ(CodeOf(ReadSocksRequest("\x04"s)), "socks.version");
  for (char command : {'\x00', '\x02', '\x03', '\x7f'})  // BIND, UDP ASSOCIATE, and no command
    EXPECT_EQ(CodeOf(ReadSocksRequest("\x05"s + command)), "socks.command");
  EXPECT_EQ(CodeOf(ReadSocksRequest("\x05\x01\x01"s)), "socks.reserved");
  EXPECT_EQ(CodeOf(ReadSocksRequest("\x05\x01\x00\x02\x00"s)), "socks.address_type");
  EXPECT_EQ(CodeOf(ReadSocksRequest("\x05\x01\x00\x03\x00"s)), "socks.empty_host");
  EXPECT_EQ(CodeOf(ReadSocksRequest("\x05\x01\x00\x03\x01"
                                    "a\x00\x00"s)),
            "socks.port");
}

}  // namespace
}  // namespace writ::egress
