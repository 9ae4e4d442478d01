#include "integration/system/certificates.h"

namespace bmcpair::integration {

Finished make_certificates(const std::string& folder, const std::string& names) {
  write_file(folder + "/san", "subjectAltName=" + names + "\n");
  return run({"sh", "-ec",
              "cd \"$1\"\n"
              "key() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }\n"
              "ca() { key $1; openssl req -x509 -new -key $1.key -subj /CN=$1 -days 2 -out $1.pem; }\n"
              "leaf() { key $1; openssl req -new -key $1.key -subj /CN=$1 -out $1.csr\n"
              "  openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -days 2 -extfile san -out $1.pem; }\n"
              "ca ca; ca other; leaf server ca; leaf client ca; leaf stranger other\n",
              "sh", folder});
}

}  // namespace bmcpair::integration
