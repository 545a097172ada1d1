#!/bin/sh
# Makes the certificates of the TLS tests; run once, results committed.
set -e
days=36500
openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -days $days -subj "/CN=zdd-sdk test authority" -out ca.pem \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
make_server() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
  openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
  printf 'basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=%s\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' "$2" > ext
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days $days -extfile ext -out "$1.crt"
  cat "$1.crt" "$1.key" > "$1.pem"
  rm "$1.csr" "$1.crt" "$1.key" ext
}
make_server localhost "DNS:localhost,IP:127.0.0.1"
make_server elsewhere "DNS:elsewhere.test"
rm -f ca.key ca.srl
