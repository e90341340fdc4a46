from tests.segmentation.scoring.conftest import champion, shop

__all__ = ["champion", "shop"]
