// Certificates for tests of TLS, made anew each time.
#pragma once

#include <string>

#include "integration/system/process.h"

namespace bmcpair::integration {

// NAME.pem and NAME.key in `folder`, each for two days: the authorities ca and other; server and client signed by ca, stranger by
// other. `names` is the subjectAltName of what they sign ("IP:127.0.0.1,DNS:localhost"). What openssl said, if it failed.
Finished make_certificates(const std::string& folder, const std::string& names);

}  // namespace bmcpair::integration
