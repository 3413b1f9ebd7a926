include Makefile.pgxs
