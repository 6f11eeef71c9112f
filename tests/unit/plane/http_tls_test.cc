// The API over TLS.
#include <gtest/gtest.h>

#include "tls_api.h"

namespace writ::test {
namespace {

TEST_F(Tls, ServesUnderItsCertificateAndNotWithoutTls) {
  Start({}, Options(""));
  EXPECT_TRUE(server->url().starts_with("https://127.0.0.1:"));
  EXPECT_EQ(client->Get("/v1/health").status, 0) << "a certificate of an unknown CA is not trusted";
  client->ca_file = folder.path() + "/ca.pem";
  EXPECT_EQ(client->Get("/v1/health").status, 200);
  std::string large(2 << 20, 'z');
  auto hash = (*plane)->PutBlob(large).value();
  EXPECT_EQ(client->Get("/v1/blobs/" + hash).body, large);
  HttpClient plain("http://127.0.0.1:" + std::to_string(server->port()));
  EXPECT_EQ(plain.Get("/v1/health").status, 0);
}

TEST_F(Tls, AClientCaDemandsACertificateOfIt) {
  const std::string d = folder.path();
  Start({}, Options(d + "/ca.pem"));
  client->ca_file = d + "/ca.pem";
  EXPECT_EQ(client->Get("/v1/health").status, 0) << "no certificate";
  HttpClient known(server->url());
  known.ca_file = d + "/ca.pem";
  known.certificate = d + "/client.pem";
  known.key = d + "/client.key";
  EXPECT_EQ(known.Get("/v1/health").status, 200);
}

TEST_F(Tls, FilesThatDoNotFitAreAClearError) {
  Start();
  auto options = Options("");
  options.tls->key = folder.path() + "/client.key";
  auto refused = plane::HttpServer::Start(**plane, real, options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "plane.tls");
}

}  // namespace
}  // namespace writ::test
