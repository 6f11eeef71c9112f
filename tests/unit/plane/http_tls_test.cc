// The API over TLS.
#include <gtest/gtest.h>
#include <unistd.h>

#include "http_api.h"
#include "writ/base/child.h"

namespace writ::test {
namespace {

// A CA, a server certificate and a client certificate, made with the openssl tool.
class Tls : public Api {
 protected:
  void SetUp() override {
    if (::access(kOpenssl, X_OK) != 0) GTEST_SKIP() << "the openssl tool is not here";
    WriteText(At("ext"), "subjectAltName=IP:127.0.0.1\n");
    Openssl({"req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", "/CN=test-ca",
             "-keyout", At("ca.key"), "-out", At("ca.pem")});
    for (const std::string name : {"server", "client"}) {
      Openssl({"req", "-newkey", "ed25519", "-nodes", "-subj", "/CN=" + name, "-keyout",
               At(name + ".key"), "-out", At(name + ".csr")});
      Openssl({"x509", "-req", "-days", "2", "-in", At(name + ".csr"), "-CA", At("ca.pem"),
               "-CAkey", At("ca.key"), "-CAcreateserial", "-extfile", At("ext"), "-out",
               At(name + ".pem")});
    }
  }
  static constexpr const char* kOpenssl = "/usr/bin/openssl";
  std::string At(const std::string& name) const { return folder.path() + "/" + name; }
  static void Openssl(std::vector<std::string> args) {
    args.insert(args.begin(), "openssl");
    SpawnOptions options;
    options.path = kOpenssl;
    options.argv = std::move(args);
    auto tool = Child::Spawn(options);
    ASSERT_TRUE(tool) << tool.error().ToString();
    auto ended = tool->Wait(std::chrono::seconds(60));
    ASSERT_TRUE(ended && *ended);
    ASSERT_EQ((*ended)->ShellCode(), 0) << options.argv[1];
  }
  plane::HttpServerOptions Options(const std::string& client_ca) {
    const std::string d = folder.path();
    plane::HttpServerOptions options;
    options.host = "127.0.0.1";
    options.tls = plane::TlsFiles{d + "/server.pem", d + "/server.key", client_ca};
    return options;
  }
  TempFolder folder;
};

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
