"""nftables without nft(8): rules as values, encoded for netlink, compared with what the kernel has."""
