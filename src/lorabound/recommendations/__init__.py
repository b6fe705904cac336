"""Recommendations: which rank, which factor to freeze, by pilots on the user's own rows within a budget of time."""

from lorabound.recommendations.config import RecommendConfig
from lorabound.recommendations.recommendation import Recommendation

__all__ = ["RecommendConfig", "Recommendation"]
