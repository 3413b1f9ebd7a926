/*
 * old_libpq: for LD_PRELOAD, a libpq as it was before it took from OpenSSL whatever that had decrypted (15.20
 * does): to libpq, and to nobody else, OpenSSL says that nothing is left.
 */
#include <dlfcn.h>
#include <string.h>

struct ssl_st;
int SSL_pending(const struct ssl_st *ssl);

int SSL_pending(const struct ssl_st *ssl)
{
	int (*pending)(const struct ssl_st *) = (int (*)(const struct ssl_st *))dlsym(RTLD_NEXT, "SSL_pending");
	Dl_info caller;

	if (dladdr(__builtin_return_address(0), &caller) != 0 && strstr(caller.dli_fname, "libpq.so") != NULL)
		return 0;
	return pending(ssl);
}
