// A plane behind its HTTP server with certificates at hand, for tests of TLS.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "http_api.h"
#include "writ/base/child.h"

namespace writ::test {

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

}  // namespace writ::test
